// GatedDeltaRule, and GatedDeltaRuleNorm: one kernel, the inputs at other places.
#include "ort_adapter/op_adapter.h"

namespace deltaport::ort {

namespace {

struct Places {
  size_t qkv, a, b, A_log, dt_bias, state, lengths;
};

// All but the norm. Throws unless the sizes agree.
GatedDeltaRuleArgs read_rule(const OpContext& call, const Places& at) {
  const Dims qkv = call.dims(at.qkv, "qkv", 3), state = call.dims(at.state, "state", 4);
  const int64_t rows = qkv[0], tokens = qkv[1], value_heads = state[1];
  const int64_t key_dim = state[2], value_dim = state[3];
  const int64_t both_keys = qkv[2] - value_heads * value_dim;
  if (key_dim < 1 || value_heads < 1 || value_dim < 1 || both_keys < 2 * key_dim ||
      both_keys % (2 * key_dim) != 0 || value_heads % (both_keys / (2 * key_dim)) != 0) {
    call.fail("qkv is " + std::to_string(qkv[2]) + " wide, which does not fit " +
              std::to_string(value_heads) + " value heads of " + std::to_string(value_dim) +
              " and keys of " + std::to_string(key_dim));
  }
  return {
      .rows = rows,
      .tokens = tokens,
      .key_heads = both_keys / (2 * key_dim),
      .value_heads = value_heads,
      .key_dim = key_dim,
      .value_dim = value_dim,
      .qkv = call.floats(at.qkv, "qkv", qkv),
      .a = call.floats(at.a, "a", {rows, tokens, value_heads}),
      .b = call.floats(at.b, "b", {rows, tokens, value_heads}),
      .A_log = call.floats(at.A_log, "A_log", {value_heads}),
      .dt_bias = call.floats(at.dt_bias, "dt_bias", {value_heads}),
      .state = call.floats(at.state, "state", {rows, value_heads, key_dim, value_dim}),
      .lengths = call.lengths(at.lengths, rows, tokens),
      .norm_eps = call.attributes.floats.at("norm_eps"),
      .o = call.output(0, {rows, tokens, value_heads * value_dim}),
      .new_state = call.output(1, state),
  };
}

void compute_rule(const OpContext& call, const KernelTable& kernels, const Parallel& parallel) {
  kernels.gated_delta_rule(read_rule(call, {0, 1, 2, 3, 4, 5, 6}), parallel);
}

void compute_rule_norm(const OpContext& call, const KernelTable& kernels,
                       const Parallel& parallel) {
  GatedDeltaRuleArgs args = read_rule(call, {0, 2, 3, 4, 5, 7, 8});
  args.z = call.floats(1, "z", {args.rows, args.tokens, args.value_width()});
  args.norm = call.floats(6, "norm", {args.value_dim});
  args.output_norm_eps = call.attributes.floats.at("output_norm_eps");
  kernels.gated_delta_rule(args, parallel);
}

}  // namespace

OpDescription describe_gated_delta_rule() {
  return {.name = "GatedDeltaRule",
          .inputs = {Port::kFloats, Port::kFloats, Port::kFloats, Port::kFloats, Port::kFloats,
                     Port::kFloats, Port::kInts},
          .outputs = 2,
          .defaults = {.floats = {{"norm_eps", 1e-6f}}, .ints = {}},
          .required = {},
          .required_floats = {},
          .compute = compute_rule};
}

OpDescription describe_gated_delta_rule_norm() {
  return {.name = "GatedDeltaRuleNorm",
          .inputs = {Port::kFloats, Port::kFloats, Port::kFloats, Port::kFloats, Port::kFloats,
                     Port::kFloats, Port::kFloats, Port::kFloats, Port::kInts},
          .outputs = 2,
          .defaults = {.floats = {{"norm_eps", 1e-6f}, {"output_norm_eps", 1e-6f}}, .ints = {}},
          .required = {},
          .required_floats = {},
          .compute = compute_rule_norm};
}

}  // namespace deltaport::ort
