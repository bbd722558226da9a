// SparseMoE, SharedExpertMoE, and both with quantized experts: two kernels, each with the shared
// expert's weights or without.
#include <limits>

#include "ort_adapter/op_adapter.h"

namespace deltaport::ort {

namespace {

// All but the experts' weights, which are `inner` wide.
SparseMoEArgs read_tokens(const OpContext& call, int64_t inner, size_t lengths) {
  const Dims x = call.dims(0, "x", 3), logits = call.dims(1, "router_logits", 3);
  const int64_t experts = logits[2], top_k = call.attributes.ints.at("top_k");
  if (top_k < 1 || top_k > experts) {
    call.fail("top_k is " + std::to_string(top_k) + ", expected 1 to " + std::to_string(experts));
  }
  if (x[0] * x[1] > std::numeric_limits<int32_t>::max()) call.fail("x has more than 2^31 tokens");
  return {
      .rows = x[0],
      .tokens = x[1],
      .hidden = x[2],
      .experts = experts,
      .inner = inner,
      .top_k = top_k,
      .x = call.floats(0, "x", x),
      .router_logits = call.floats(1, "router_logits", {x[0], x[1], experts}),
      .lengths = call.lengths(lengths, x[0], x[1]),
      .y = call.output(0, x),
  };
}

SparseMoEArgs read_experts(const OpContext& call, size_t lengths) {
  const int64_t inner = call.dims(3, "down", 3)[2];
  SparseMoEArgs args = read_tokens(call, inner, lengths);
  args.gate_up = call.weights(2, "gate_up", {args.experts, 2 * inner, args.hidden});
  args.down = call.weights(3, "down", {args.experts, args.hidden, inner});
  return args;
}

int64_t read_width(const OpContext& call, const char* name) {
  const int64_t width = call.attributes.ints.at(name);
  if (width < 1) {
    call.fail(std::string(name) + " is " + std::to_string(width) + ", expected at least 1");
  }
  return width;
}

QuantizedMoEArgs read_quantized(const OpContext& call, size_t lengths) {
  QuantizedMoEArgs args{read_tokens(call, read_width(call, "inner"), lengths), {}, {}, {}, {}};
  const SparseMoEArgs& moe = args.moe;
  args.gate_up = call.quantized(2, "gate_up", 2 * moe.inner, moe.hidden, 2, {moe.experts});
  args.down = call.quantized(4, "down", moe.hidden, moe.inner, 1, {moe.experts});
  return args;
}

void compute_sparse(const OpContext& call, const KernelTable& kernels, const Parallel& parallel) {
  kernels.sparse_moe(read_experts(call, 4), parallel);
}

void compute_shared(const OpContext& call, const KernelTable& kernels, const Parallel& parallel) {
  SparseMoEArgs args = read_experts(call, 7);
  args.shared_inner = call.dims(6, "shared_down", 2)[1];
  if (args.shared_inner < 1) call.fail("shared_down has no columns");
  args.shared_gate = call.weights(4, "shared_gate", {1, args.hidden});
  args.shared_gate_up = call.weights(5, "shared_gate_up", {2 * args.shared_inner, args.hidden});
  args.shared_down = call.weights(6, "shared_down", {args.hidden, args.shared_inner});
  kernels.sparse_moe(args, parallel);
}

void compute_quantized(const OpContext& call, const KernelTable& kernels,
                       const Parallel& parallel) {
  kernels.quantized.quantized_moe(read_quantized(call, 6), parallel);
}

void compute_quantized_shared(const OpContext& call, const KernelTable& kernels,
                              const Parallel& parallel) {
  QuantizedMoEArgs args = read_quantized(call, 11);
  SparseMoEArgs& moe = args.moe;
  moe.shared_inner = read_width(call, "shared_inner");
  moe.shared_gate = call.weights(6, "shared_gate", {1, moe.hidden});
  args.shared_gate_up =
      call.quantized(7, "shared_gate_up", 2 * moe.shared_inner, moe.hidden, 2);
  args.shared_down = call.quantized(9, "shared_down", moe.hidden, moe.shared_inner);
  kernels.quantized.quantized_moe(args, parallel);
}

}  // namespace

OpDescription describe_quantized_moe() {
  return {.name = "QuantizedMoE",
          .inputs = {Port::kFloats, Port::kFloats, Port::kCodes, Port::kScales, Port::kCodes,
                     Port::kScales, Port::kInts},
          .outputs = 1,
          .defaults = {},
          .required = {"top_k", "inner"},
          .required_floats = {},
          .compute = compute_quantized};
}

OpDescription describe_quantized_shared_expert_moe() {
  return {.name = "QuantizedSharedExpertMoE",
          .inputs = {Port::kFloats, Port::kFloats, Port::kCodes, Port::kScales, Port::kCodes,
                     Port::kScales, Port::kWeights, Port::kCodes, Port::kScales, Port::kCodes,
                     Port::kScales, Port::kInts},
          .outputs = 1,
          .defaults = {},
          .required = {"top_k", "inner", "shared_inner"},
          .required_floats = {},
          .compute = compute_quantized_shared};
}

OpDescription describe_sparse_moe() {
  return {.name = "SparseMoE",
          .inputs = {Port::kFloats, Port::kFloats, Port::kWeights, Port::kWeights, Port::kInts},
          .outputs = 1,
          .defaults = {},
          .required = {"top_k"},
          .required_floats = {},
          .compute = compute_sparse};
}

OpDescription describe_shared_expert_moe() {
  return {.name = "SharedExpertMoE",
          .inputs = {Port::kFloats, Port::kFloats, Port::kWeights, Port::kWeights, Port::kWeights,
                     Port::kWeights, Port::kWeights, Port::kInts},
          .outputs = 1,
          .defaults = {},
          .required = {"top_k"},
          .required_floats = {},
          .compute = compute_shared};
}

}  // namespace deltaport::ort
