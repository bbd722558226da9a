#include "tensorrt_adapter/op.h"

namespace deltaport::tensorrt {

std::vector<OpDescription> describe_ops() {
  return {describe_causal_conv1d(), describe_gated_delta_rule(), describe_gated_delta_rule_norm()};
}

}  // namespace deltaport::tensorrt
