// An op of ours as ONNX Runtime wants it.
#pragma once

#include <string>
#include <vector>

#include "kernels/kernel_table.h"
#include "ort_adapter/op_context.h"

namespace deltaport::ort {

enum class Port { kFloats, kInts, kWeights, kCodes, kScales };

// What the adapter of an op states; compute reads the inputs, checks them and calls the kernel.
struct OpDescription {
  const char* name;
  std::vector<Port> inputs;
  size_t outputs;
  Attributes defaults;                // attributes a node may leave out
  std::vector<std::string> required;  // whole numbers it may not
  std::vector<std::string> required_floats;
  void (*compute)(const OpContext&, const KernelTable&, const Parallel&);
};

struct OpAdapter : CustomOp {
  explicit OpAdapter(OpDescription description);
  OpDescription description;
};

// The ops, one for each definition that has a kernel.
OpDescription describe_add_rms_norm();
OpDescription describe_causal_conv1d();
OpDescription describe_gated_attention();
OpDescription describe_gated_delta_rule();
OpDescription describe_gated_delta_rule_norm();
OpDescription describe_linear();
OpDescription describe_quantized_gather();
OpDescription describe_quantized_linear();
OpDescription describe_quantized_moe();
OpDescription describe_quantized_shared_expert_moe();
OpDescription describe_shared_expert_moe();
OpDescription describe_sparse_moe();
OpDescription describe_swiglu();

}  // namespace deltaport::ort
