// New keys and values on their way into the cache, and what queries and keys have in common.
#pragma once

#include "kernels/gated_attention/gated_attention.h"
#include "simd/math.h"

namespace deltaport::DELTAPORT_ISA {

// y = rope(x / sqrt(mean(x^2) + eps) * norm) * scale, for one head of token `token` of the step.
inline void norm_and_rotate(const GatedAttentionArgs& args, int64_t token, const float* x,
                            const float* norm, float scale, float* y) {
  Vec squares = Vec::zero();
  for_each_vector(args.head_dim, [&](int64_t c, int n) {
    const Vec part = load_n(x + c, n);
    squares = fmadd(part, part, squares);
  });
  const float mean = sum(squares) / static_cast<float>(args.head_dim);
  const Vec inverse = Vec::all(1.0f / __builtin_sqrtf(mean + args.norm_eps));
  const Vec factor = Vec::all(scale);
  for_each_vector(args.head_dim, [&](int64_t c, int n) {
    store_n(y + c, load_n(x + c, n) * inverse * load_n(norm + c, n) * factor, n);
  });
  const float* cos = args.cos + token * args.half_rotary;
  const float* sin = args.sin + token * args.half_rotary;
  float* second_half = y + args.half_rotary;
  for_each_vector(args.half_rotary, [&](int64_t c, int n) {
    const Vec first = load_n(y + c, n), second = load_n(second_half + c, n);
    const Vec cosine = load_n(cos + c, n), sine = load_n(sin + c, n);
    store_n(y + c, fnmadd(second, sine, first * cosine), n);
    store_n(second_half + c, fmadd(first, sine, second * cosine), n);
  });
}

// Tokens [t, t + n) of a row and key/value head. Where the cache is not written in place, past
// columns come along with the first token.
inline void write_cache(const GatedAttentionArgs& args, int64_t row, int64_t head, int64_t t,
                        int64_t n) {
  const int64_t D = args.head_dim, plane = (row * args.kv_heads + head) * args.capacity * D;
  const int64_t past = args.past_lengths[row];
  if (t == 0 && args.present_key != args.past_key) {
    copy_floats(args.present_key + plane, args.past_key + plane, past * D);
  }
  if (t == 0 && args.present_value != args.past_value) {
    copy_floats(args.present_value + plane, args.past_value + plane, past * D);
  }
  for (int64_t i = t; i < t + n; ++i) {
    const int64_t token = row * args.tokens + i, from = (token * args.kv_heads + head) * D;
    const int64_t to = plane + (past + i) * D;
    norm_and_rotate(args, token, args.k + from, args.k_norm, 1.0f, args.present_key + to);
    copy_floats(args.present_value + to, args.v + from, D);
  }
}

}  // namespace deltaport::DELTAPORT_ISA
