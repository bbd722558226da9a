#include "tensorrt_adapter/op.h"

namespace deltaport::tensorrt {

std::vector<OpDescription> describe_ops() {
  return {describe_causal_conv1d(), describe_gated_delta_rule(), describe_gated_delta_rule_norm(),
          describe_sparse_moe(), describe_shared_expert_moe(), describe_quantized_moe(),
          describe_quantized_shared_expert_moe()};
}

}  // namespace deltaport::tensorrt
