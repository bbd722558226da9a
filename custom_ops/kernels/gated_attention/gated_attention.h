// Grouped-query attention with q/k norm, partial rotary positions, cache and output gate; see
// GatedAttention in docs/custom-ops.md for the maths.
#pragma once

#include <cstdint>

namespace deltaport {

struct GatedAttentionArgs {
  int64_t rows, tokens, query_heads, kv_heads, head_dim, half_rotary, capacity;
  const float* q_gate;          // [rows, tokens, query_heads, 2, head_dim]: query, gate logits
  const float* k;               // [rows, tokens, kv_heads, head_dim]
  const float* v;               // [rows, tokens, kv_heads, head_dim]
  const float* q_norm;          // [head_dim]
  const float* k_norm;          // [head_dim]
  const float* cos;             // [rows, tokens, half_rotary]
  const float* sin;             // [rows, tokens, half_rotary]
  const float* past_key;        // [rows, kv_heads, capacity, head_dim]
  const float* past_value;      // [rows, kv_heads, capacity, head_dim]
  const int64_t* lengths;       // [rows]
  const int64_t* past_lengths;  // [rows]
  float scale, norm_eps;
  float* o;              // [rows, tokens, query_heads, head_dim]
  float* present_key;    // as past_key, and may be the same memory
  float* present_value;  // as past_value, and may be the same memory

  int64_t group() const { return query_heads / kv_heads; }
};

}  // namespace deltaport
