// What the adapters of mixtures of experts have in common, however experts are stored.
#pragma once

#include "kernels/sparse_moe/cuda.h"

#include "tensorrt_adapter/op.h"

namespace deltaport::tensorrt {

constexpr Port kX{"x", Type::kActivation, "B,T,H"};
constexpr Port kRouterLogits{"router_logits", Type::kActivation, "B,T,E"};
constexpr Port kSharedGate{"shared_gate", Type::kActivation, "1,H"};
constexpr Port kLengths{"lengths", Type::kInt64, "B"};
constexpr Port kY{"y", Type::kActivation, "B,T,H"};

// Of an attribute that is a number of experts, or a width.
constexpr Attribute count_of(const char* name) {
  return {.name = name, .type = nvinfer1::PluginFieldType::kINT64, .least = 1};
}
constexpr Attribute kTopK = count_of("top_k");

// Throws std::invalid_argument for experts that there is no kernel for: too many, or too few for
// those of a token.
void check_experts(const Sizes& sizes, const Attributes& attributes);

// A call's arguments without tensors, experts `inner` wide. A mixture without a shared expert has
// none of a width.
DELTAPORT_ISA::MoEArgs mixture_shape(const Sizes& sizes, const Attributes& attributes,
                                     int64_t inner, int64_t shared_inner);

// The same with the tokens, where they go, and what becomes of them.
DELTAPORT_ISA::MoEArgs read_tokens(const Call& call, int64_t inner, int64_t shared_inner);

// The tensor of a port that has the type of activations.
Weights activations_of(const Call& call, const char* port);

}  // namespace deltaport::tensorrt
