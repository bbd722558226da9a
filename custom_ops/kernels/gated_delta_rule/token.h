// What a token brings to the rule: unit queries and keys, decay, write strength; and what becomes
// of its read-out.
#pragma once

#include "kernels/gated_delta_rule/gated_delta_rule.h"
#include "simd/math.h"

namespace deltaport::DELTAPORT_ISA {

// scale / sqrt(|x|^2 + eps)
inline float inverse_l2_norm(const float* x, int64_t size, float eps, float scale) {
  Vec squares = Vec::zero();
  for_each_vector(size, [&](int64_t c, int n) {
    const Vec part = load_n(x + c, n);
    squares = fmadd(part, part, squares);
  });
  return scale / __builtin_sqrtf(sum(squares) + eps);
}

// Where one key head's queries and keys, or one value head's values, of a token begin.
struct TokenAt {
  const float *q, *k, *v;
};
inline TokenAt token_at(const GatedDeltaRuleArgs& args, int64_t row, int64_t t, int64_t key_head) {
  const float* packed = args.qkv + (row * args.tokens + t) * args.packed_width();
  const int64_t head = key_head * args.key_dim;
  const int64_t value = key_head * args.group() * args.value_dim;
  return {packed + head, packed + args.key_width() + head, packed + 2 * args.key_width() + value};
}

// Per token: log_decay = -exp(A_log) * softplus(a + dt_bias), beta = sigmoid(b).
inline void load_gates(const GatedDeltaRuleArgs& args, int64_t row, int64_t t, int64_t n,
                       int64_t value_head, float* log_decay, float* beta) {
  const int64_t at = (row * args.tokens + t) * args.value_heads + value_head;
  for (int64_t i = 0; i < n; ++i) {
    log_decay[i] = args.a[at + i * args.value_heads];
    beta[i] = args.b[at + i * args.value_heads];
  }
  const Vec rate = exp(Vec::all(args.A_log[value_head]));
  const Vec bias = Vec::all(args.dt_bias[value_head]);
  for_each_vector(n, [&](int64_t i, int w) {
    const Vec decay = rate * softplus(load_n(log_decay + i, w) + bias);
    store_n(log_decay + i, Vec::zero() - decay, w);
    store_n(beta + i, sigmoid(load_n(beta + i, w)), w);
  });
}

// o = o / sqrt(mean(o^2) + eps) * norm * silu(z), over one head of one token.
inline void norm_and_gate(const GatedDeltaRuleArgs& args, const float* z, float* o) {
  Vec squares = Vec::zero();
  for_each_vector(args.value_dim, [&](int64_t c, int n) {
    const Vec part = load_n(o + c, n);
    squares = fmadd(part, part, squares);
  });
  const float mean = sum(squares) / static_cast<float>(args.value_dim);
  const Vec inverse = Vec::all(1.0f / __builtin_sqrtf(mean + args.output_norm_eps));
  for_each_vector(args.value_dim, [&](int64_t c, int n) {
    const Vec gate = silu(load_n(z + c, n));
    store_n(o + c, load_n(o + c, n) * inverse * load_n(args.norm + c, n) * gate, n);
  });
}

}  // namespace deltaport::DELTAPORT_ISA
