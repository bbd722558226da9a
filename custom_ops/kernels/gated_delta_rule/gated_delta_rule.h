// The gated delta rule, with or without the gated norm behind it; see GatedDeltaRule and
// GatedDeltaRuleNorm in docs/custom-ops.md for the maths.
#pragma once

#include <cstdint>

namespace deltaport {

struct GatedDeltaRuleArgs {
  int64_t rows, tokens, key_heads, value_heads, key_dim, value_dim;
  const float* qkv;        // [rows, tokens, 2 * key_heads * key_dim + value_heads * value_dim]
  const float* a;          // [rows, tokens, value_heads]
  const float* b;          // [rows, tokens, value_heads]
  const float* A_log;      // [value_heads]
  const float* dt_bias;    // [value_heads]
  const float* state;      // [rows, value_heads, key_dim, value_dim]
  const int64_t* lengths;  // [rows]
  float norm_eps;
  const float* z = nullptr;     // [rows, tokens, value_heads * value_dim], with the norm alone
  const float* norm = nullptr;  // [value_dim]
  float output_norm_eps = 0;
  float* o;          // [rows, tokens, value_heads * value_dim]
  float* new_state;  // as state, and may be the same memory

  int64_t group() const { return value_heads / key_heads; }
  int64_t key_width() const { return key_heads * key_dim; }
  int64_t value_width() const { return value_heads * value_dim; }
  int64_t packed_width() const { return 2 * key_width() + value_width(); }
};

}  // namespace deltaport
