// One token, as decode has it: the state is read once from memory and written once.
#pragma once

#include "kernels/gated_delta_rule/token.h"

namespace deltaport::DELTAPORT_ISA {

struct Step {
  int64_t key_dim, value_dim;
  const float *q, *k;  // [key_dim], unit vectors, q scaled
  float alpha, beta, qk;
  // Whether the new state goes past the caches. Nobody reads it before the next token, when all of
  // the model's weights have gone through them; written the usual way it is read from memory first.
  bool streams;
};

// Columns [0, N vectors) of the state of one head. With S the state and p = alpha k^T S:
//     u = beta (v - p),  o = alpha q^T S + (q.k) u,  S = alpha S + k u^T
// k^T S and q^T S come of one pass; the second finds the state in the cache.
template <int N>
inline void step_columns(const Step& step, const float* v, const float* state, float* o,
                         float* new_state, int n_last) {
  constexpr int W = Vec::width;
  const auto width = [&](int j) { return j == N - 1 ? n_last : W; };
  Vec by_key[N], by_query[N];
  for (int j = 0; j < N; ++j) by_key[j] = by_query[j] = Vec::zero();
  for (int64_t i = 0; i < step.key_dim; ++i) {
    const Vec k = Vec::all(step.k[i]), q = Vec::all(step.q[i]);
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) {
      const Vec s = load_n(state + i * step.value_dim + j * W, width(j));
      by_key[j] = fmadd(k, s, by_key[j]);
      by_query[j] = fmadd(q, s, by_query[j]);
    }
  }
  const Vec alpha = Vec::all(step.alpha), beta = Vec::all(step.beta), qk = Vec::all(step.qk);
  Vec u[N];
#pragma GCC unroll 8
  for (int j = 0; j < N; ++j) {
    u[j] = beta * fnmadd(alpha, by_key[j], load_n(v + j * W, width(j)));
    store_n(o + j * W, fmadd(qk, u[j], alpha * by_query[j]), width(j));
  }
  for (int64_t i = 0; i < step.key_dim; ++i) {
    const Vec k = Vec::all(step.k[i]);
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) {
      const int64_t at = i * step.value_dim + j * W;
      const Vec updated = fmadd(k, u[j], alpha * load_n(state + at, width(j)));
      if (step.streams) {
        stream(new_state + at, updated);
      } else {
        store_n(new_state + at, updated, width(j));
      }
    }
  }
}

inline void step_head(const Step& step, const float* v, const float* state, float* o,
                      float* new_state) {
  constexpr int kVectors = Vec::registers / 4;  // as many sums, twice, as registers allow
  constexpr int64_t kColumns = kVectors * Vec::width;
  int64_t c = 0;
  for (; c + kColumns <= step.value_dim; c += kColumns) {
    step_columns<kVectors>(step, v + c, state + c, o + c, new_state + c, Vec::width);
  }
  for (; c < step.value_dim; c += Vec::width) {
    const int n = static_cast<int>(min_of(Vec::width, step.value_dim - c));
    step_columns<1>(step, v + c, state + c, o + c, new_state + c, n);
  }
}

// Token t of a row, for the value heads that read `key_head`. scratch: 2 * key_dim floats.
inline void run_step(const GatedDeltaRuleArgs& args, int64_t row, int64_t t, int64_t key_head,
                     const float* state, float* scratch) {
  const TokenAt token = token_at(args, row, t, key_head);
  float *q = scratch, *k = scratch + args.key_dim;
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(args.key_dim));
  const Vec q_scale = Vec::all(inverse_l2_norm(token.q, args.key_dim, args.norm_eps, scale));
  const Vec k_scale = Vec::all(inverse_l2_norm(token.k, args.key_dim, args.norm_eps, 1.0f));
  Vec products = Vec::zero();
  for_each_vector(args.key_dim, [&](int64_t c, int n) {
    const Vec q_part = load_n(token.q + c, n) * q_scale, k_part = load_n(token.k + c, n) * k_scale;
    store_n(q + c, q_part, n);
    store_n(k + c, k_part, n);
    products = fmadd(q_part, k_part, products);
  });
  const float qk = sum(products);
  const bool is_aligned = args.value_dim % Vec::width == 0 &&
                          reinterpret_cast<uintptr_t>(args.new_state) % sizeof(Vec) == 0;
  const bool streams = args.tokens == 1 && args.new_state != args.state && is_aligned;
  for (int64_t r = 0; r < args.group(); ++r) {
    const int64_t head = key_head * args.group() + r;
    float log_decay, beta, alpha;
    load_gates(args, row, t, 1, head, &log_decay, &beta);
    store_partial(&alpha, exp(Vec::all(log_decay)), 1);
    const int64_t size = args.key_dim * args.value_dim;
    const int64_t at = (row * args.tokens + t) * args.value_width() + head * args.value_dim;
    const Step step = {args.key_dim, args.value_dim, q, k, alpha, beta, qk, streams};
    step_head(step, token.v + r * args.value_dim, state + head * size, args.o + at,
              args.new_state + (row * args.value_heads + head) * size);
    if (args.norm != nullptr) norm_and_gate(args, args.z + at, args.o + at);
  }
  if (streams) stream_fence();
}

}  // namespace deltaport::DELTAPORT_ISA
