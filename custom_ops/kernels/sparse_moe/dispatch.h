// Who goes where: the pairs of a token and an expert, grouped by expert.
#pragma once

#include "kernels/matmul/dot_tile.h"
#include "kernels/parallel.h"
#include "kernels/scratch.h"
#include "kernels/sparse_moe/routing.h"
#include "kernels/sparse_moe/sparse_moe.h"
#include "simd/math.h"

namespace deltaport::DELTAPORT_ISA {

// A block of real tokens on its way through the experts. Token t of the block is token
// token_of[t] of the step. It has `slots` pairs: one for each chosen expert, ascending, and last
// that of the shared expert, which counts as expert number `experts`. Pairs of an expert follow
// each other: those of expert e are [first[e], first[e + 1]).
struct Dispatch {
  int64_t tokens, slots, pairs;
  int32_t* token_of;   // [tokens]
  int32_t* expert_of;  // [tokens, slots]
  float* weight;       // [tokens, slots]
  int32_t* first;      // [experts + 2]
  int32_t* pair_of;    // [tokens, slots]
  int32_t* pair_token; // [pairs] token of the step

  static int64_t size(const SparseMoEArgs& args, int64_t tokens) {
    return tokens * (1 + 4 * (args.top_k + 1)) + args.experts + 3;
  }
};

// Chosen experts and their weights, softmax over the chosen: what the softmax over all would give
// after renormalisation.
inline void route_token(const SparseMoEArgs& args, const Dispatch& d, int64_t t) {
  const float* logits = args.router_logits + d.token_of[t] * args.experts;
  int32_t* chosen = d.expert_of + t * d.slots;
  float* weight = d.weight + t * d.slots;
  const Vec largest = Vec::all(choose_experts(logits, args.experts, args.top_k, chosen));
  for (int64_t i = 0; i < args.top_k; ++i) weight[i] = logits[chosen[i]];
  Vec total = Vec::zero();
  for_each_vector(args.top_k, [&](int64_t i, int n) {
    const Vec p = exp(load_n(weight + i, n) - largest);
    store_n(weight + i, p, n);
    total += load_n(weight + i, n);
  });
  const Vec whole = Vec::all(sum(total));
  for_each_vector(args.top_k, [&](int64_t i, int n) {
    store_n(weight + i, load_n(weight + i, n) / whole, n);
  });
}

// weight = sigmoid(shared_gate . x)
inline void route_shared(const SparseMoEArgs& args, const Dispatch& d, int64_t t) {
  d.expert_of[t * d.slots + args.top_k] = static_cast<int32_t>(args.experts);
  const float* x = args.x + d.token_of[t] * args.hidden;
  float dot[1];
  visit(args.shared_gate,
        [&](auto* gate) { dot_tile<1, 1>(args.hidden, x, args.hidden, gate, args.hidden, dot); });
  store_partial(d.weight + t * d.slots + args.top_k, sigmoid(Vec::all(dot[0])), 1);
}

inline void group_by_expert(const SparseMoEArgs& args, const Dispatch& d) {
  for (int64_t e = 0; e < args.experts + 2; ++e) d.first[e] = 0;
  for (int64_t i = 0; i < d.pairs; ++i) ++d.first[d.expert_of[i] + 1];
  for (int64_t e = 0; e <= args.experts; ++e) d.first[e + 1] += d.first[e];
  for (int64_t i = 0; i < d.pairs; ++i) {
    const int32_t pair = d.first[d.expert_of[i]]++;
    d.pair_of[i] = pair;
    d.pair_token[pair] = d.token_of[i / d.slots];
  }
  for (int64_t e = args.experts + 1; e > 0; --e) d.first[e] = d.first[e - 1];
  d.first[0] = 0;
}

// The pairs of `tokens` real tokens; memory has Dispatch::size floats.
inline Dispatch dispatch(const SparseMoEArgs& args, const int32_t* real, int64_t tokens,
                         int32_t* memory, const Parallel& parallel) {
  const auto take = [&](int64_t n) {
    int32_t* taken = memory;
    memory += n;
    return taken;
  };
  const int64_t slots = args.top_k + (args.shared_inner > 0 ? 1 : 0), pairs = tokens * slots;
  Dispatch d{tokens, slots, pairs, take(tokens), take(pairs),
             reinterpret_cast<float*>(take(pairs)), take(args.experts + 2), take(pairs),
             take(pairs)};
  for (int64_t t = 0; t < tokens; ++t) d.token_of[t] = real[t];
  constexpr int64_t kTokens = 32;  // of a task
  parallel(round_up(tokens, kTokens) / kTokens, [&](size_t i) {
    const int64_t begin = static_cast<int64_t>(i) * kTokens;
    for (int64_t t = begin; t < min_of(begin + kTokens, tokens); ++t) {
      route_token(args, d, t);
      if (args.shared_inner > 0) route_shared(args, d, t);
    }
  });
  group_by_expert(args, d);
  return d;
}

}  // namespace deltaport::DELTAPORT_ISA
