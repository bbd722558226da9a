// SparseMoE, and SharedExpertMoE: one kernel, with the shared expert's weights or without.
#include <limits>

#include "ort_adapter/op_adapter.h"

namespace deltaport::ort {

namespace {

SparseMoEArgs read_experts(const OpContext& call, size_t lengths) {
  const Dims x = call.dims(0, "x", 3), logits = call.dims(1, "router_logits", 3);
  const Dims down = call.dims(3, "down", 3);
  const int64_t hidden = x[2], experts = logits[2], inner = down[2];
  const int64_t top_k = call.attributes.ints.at("top_k");
  if (top_k < 1 || top_k > experts) {
    call.fail("top_k is " + std::to_string(top_k) + ", expected 1 to " + std::to_string(experts));
  }
  if (x[0] * x[1] > std::numeric_limits<int32_t>::max()) call.fail("x has more than 2^31 tokens");
  return {
      .rows = x[0],
      .tokens = x[1],
      .hidden = hidden,
      .experts = experts,
      .inner = inner,
      .top_k = top_k,
      .x = call.floats(0, "x", x),
      .router_logits = call.floats(1, "router_logits", {x[0], x[1], experts}),
      .gate_up = call.weights(2, "gate_up", {experts, 2 * inner, hidden}),
      .down = call.weights(3, "down", {experts, hidden, inner}),
      .lengths = call.lengths(lengths, x[0], x[1]),
      .y = call.output(0, x),
  };
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

}  // namespace

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
