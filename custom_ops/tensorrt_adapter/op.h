// What the adapter of an op states: its ports and attributes, and how its kernel is launched.
#pragma once

#include <NvInferRuntime.h>

#include <vector>

#include "tensorrt_adapter/attributes.h"
#include "tensorrt_adapter/call.h"
#include "tensorrt_adapter/signature.h"
#include "tensorrt_adapter/sizes.h"

namespace deltaport::tensorrt {

// Ports and attributes are those of custom_ops/definitions, in order and under their names.
struct OpDescription {
  const char* name;
  std::vector<Port> inputs, outputs;
  std::vector<Attribute> attributes;
  // Throws std::invalid_argument where there is no kernel for the sizes that are known.
  void (*check)(const Sizes&, const Attributes&);
  // Returns what the launch does.
  cudaError_t (*launch)(const Call&);
  // Bytes for calls of at most these sizes; null where they need none.
  size_t (*workspace)(const Sizes&, const Attributes&) = nullptr;
};

struct Op {
  explicit Op(OpDescription given);
  OpDescription description;
  Signature signature;
  // The ports in words, as in "Op(activation x[B,T], int64 lengths[B]) -> (activation y[B,T])".
  std::string metadata;
};

// The ops of the library, one for each definition that has a kernel for GPUs.
std::vector<OpDescription> describe_ops();

OpDescription describe_causal_conv1d();
OpDescription describe_gated_delta_rule();
OpDescription describe_gated_delta_rule_norm();
OpDescription describe_sparse_moe();
OpDescription describe_shared_expert_moe();
OpDescription describe_quantized_moe();
OpDescription describe_quantized_shared_expert_moe();

}  // namespace deltaport::tensorrt
