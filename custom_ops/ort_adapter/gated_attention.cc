#include "ort_adapter/op_adapter.h"

namespace deltaport::ort {

namespace {

// Throws unless every row's new tokens fit its cache.
const int64_t* read_past_lengths(const OpContext& call, const int64_t* lengths, int64_t rows,
                                 int64_t capacity) {
  const int64_t* past = call.ints(10, "past_lengths", {rows});
  for (int64_t row = 0; row < rows; ++row) {
    if (past[row] < 0 || past[row] > capacity - lengths[row]) {
      call.fail("past_lengths[" + std::to_string(row) + "] is " + std::to_string(past[row]) +
                ", which with " + std::to_string(lengths[row]) +
                " new tokens does not fit a cache for " + std::to_string(capacity));
    }
  }
  return past;
}

void compute(const OpContext& call, const KernelTable& kernels, const Parallel& parallel) {
  const Dims cache = call.dims(7, "past_key", 4), k = call.dims(1, "k", 3);
  const Dims q_gate = call.dims(0, "q_gate", 3), cos = call.dims(5, "cos", 3);
  const int64_t rows = k[0], tokens = k[1], kv_heads = cache[1], head_dim = cache[3];
  if (kv_heads < 1 || head_dim < 1 || q_gate[2] < 1 || q_gate[2] % (2 * head_dim * kv_heads) != 0) {
    call.fail("q_gate is " + std::to_string(q_gate[2]) + " wide, which does not fit " +
              std::to_string(kv_heads) + " key/value heads of " + std::to_string(head_dim));
  }
  // Positions are compared as floats, which hold every whole number up to here.
  constexpr int64_t kMostColumns = 1 << 24;
  if (cache[2] > kMostColumns) {
    call.fail("past_key has room for " + std::to_string(cache[2]) + " tokens, expected at most " +
              std::to_string(kMostColumns));
  }
  if (2 * cos[2] > head_dim) call.fail("cos is wider than half a head");
  const int64_t* lengths = call.lengths(9, rows, tokens);
  GatedAttentionArgs args{
      .rows = rows,
      .tokens = tokens,
      .query_heads = q_gate[2] / (2 * head_dim),
      .kv_heads = kv_heads,
      .head_dim = head_dim,
      .half_rotary = cos[2],
      .capacity = cache[2],
      .q_gate = call.floats(0, "q_gate", {rows, tokens, q_gate[2]}),
      .k = call.floats(1, "k", {rows, tokens, kv_heads * head_dim}),
      .v = call.floats(2, "v", {rows, tokens, kv_heads * head_dim}),
      .q_norm = call.floats(3, "q_norm", {head_dim}),
      .k_norm = call.floats(4, "k_norm", {head_dim}),
      .cos = call.floats(5, "cos", {rows, tokens, cos[2]}),
      .sin = call.floats(6, "sin", {rows, tokens, cos[2]}),
      .past_key = call.floats(7, "past_key", {rows, kv_heads, cache[2], head_dim}),
      .past_value = call.floats(8, "past_value", {rows, kv_heads, cache[2], head_dim}),
      .lengths = lengths,
      .past_lengths = read_past_lengths(call, lengths, rows, cache[2]),
      .scale = call.attributes.floats.at("scale"),
      .norm_eps = call.attributes.floats.at("norm_eps"),
      .o = call.output(0, {rows, tokens, q_gate[2] / 2}),
      .present_key = call.output(1, cache),
      .present_value = call.output(2, cache),
  };
  kernels.gated_attention(args, parallel);
}

}  // namespace

OpDescription describe_gated_attention() {
  return {.name = "GatedAttention",
          .inputs = {Port::kFloats, Port::kFloats, Port::kFloats, Port::kFloats, Port::kFloats,
                     Port::kFloats, Port::kFloats, Port::kFloats, Port::kFloats, Port::kInts,
                     Port::kInts},
          .outputs = 3,
          .defaults = {.floats = {{"norm_eps", 1e-6f}}, .ints = {}},
          .required = {},
          .required_floats = {"scale"},
          .compute = compute};
}

}  // namespace deltaport::ort
