// The vector body. A block of tokens goes through five steps, each of many tasks: every pair of token
// and expert gets its activations rounded, then its inner activations, those are rounded, then its
// output; then every token sums up its pairs in ascending order of expert.
#pragma once

#include "kernels/quantized/tile_product.h"
#include "kernels/quantized_moe/quantized_moe.h"
#include "kernels/sparse_moe/generic.h"

namespace deltaport::DELTAPORT_ISA {

// One expert's weights.
struct QuantizedExpert {
  QuantizedWeights gate, up, down;
  int64_t inner;

  int64_t inner_tiles() const { return round_up(inner, kTileOutputs) / kTileOutputs; }
};

inline QuantizedExpert quantized_expert(const QuantizedMoEArgs& args, int64_t e) {
  const bool shared = e == args.moe.experts;
  QuantizedExpert expert{shared ? args.shared_gate_up : args.gate_up, {},
                         shared ? args.shared_down : args.down,
                         shared ? args.moe.shared_inner : args.moe.inner};
  const int64_t tiles = expert.inner_tiles(), index = shared ? 0 : e;
  expert.gate = expert.gate.from_tile(2 * tiles * index);
  expert.up = expert.gate.from_tile(tiles);
  const int64_t out_tiles = round_up(args.moe.hidden, kTileOutputs) / kTileOutputs;
  expert.down = expert.down.from_tile(out_tiles * index);
  return expert;
}

// What the tasks of a block share.
struct QuantizedMoEBlock {
  const QuantizedMoEArgs& args;
  MoEBlock block;
  float* rounded;  // activations of all pairs, then inner activations of all pairs

  // The rounded activations of expert e's pairs, those of its weights' width.
  RoundedTokens tokens_of(int64_t e, const QuantizedWeights& routed,
                          const QuantizedWeights& own) const {
    const int32_t* first = block.dispatch.first;
    return RoundedTokens(first[e + 1] - first[e], own,
                         rounded + RoundedTokens::size(first[e], routed.groups));
  }
  RoundedTokens inputs_of(int64_t e) const {
    const bool shared = e == args.moe.experts;
    return tokens_of(e, args.gate_up, shared ? args.shared_gate_up : args.gate_up);
  }
  RoundedTokens inner_of(int64_t e) const {
    const bool shared = e == args.moe.experts;
    return tokens_of(e, args.down, shared ? args.shared_down : args.down);
  }
};

// Rounds what value(e, m) gives for pair m of expert e, of width(e), into target(e).
template <class Target, class Value, class Width>
inline void round_pairs(const QuantizedMoEBlock& moe, const Parallel& parallel, Target target,
                        Value value, Width width) {
  constexpr int64_t kPairs = 16;  // of a task
  const Dispatch& d = moe.block.dispatch;
  parallel(round_up(d.pairs, kPairs) / kPairs, [&](size_t i) {
    const int64_t begin = static_cast<int64_t>(i) * kPairs;
    int64_t e = 0;
    for (int64_t pair = begin; pair < min_of(begin + kPairs, d.pairs); ++pair) {
      while (d.first[e + 1] <= pair) ++e;
      target(e).round(pair - d.first[e], value(e, pair), width(e));
    }
  });
}

// Inner activations of expert e for tiles [begin, begin + tiles) of its gate rows.
inline void quantized_inner(const QuantizedMoEBlock& moe, int64_t e, int64_t begin, int64_t tiles) {
  const QuantizedExpert expert = quantized_expert(moe.args, e);
  const RoundedTokens x = moe.inputs_of(e);
  const int64_t first = begin * kTileOutputs;
  const int64_t rows = min_of(tiles * kTileOutputs, expert.inner - first);
  float* gate = thread_scratch(2 * x.tokens * rows);
  float* up = gate + x.tokens * rows;
  const auto into = [&](float* out) {
    return [=](int64_t m, int64_t n, Vec y, int lanes) {
      store_n(out + m * rows + n - first, y, lanes);
    };
  };
  tiles_product(expert.gate, begin, begin + tiles, expert.inner, x, into(gate));
  tiles_product(expert.up, begin, begin + tiles, expert.inner, x, into(up));
  float* inner = moe.block.inner_of(e) + first;
  for (int64_t m = 0; m < x.tokens; ++m) {
    swiglu_token(gate + m * rows, up + m * rows, rows, inner + m * expert.inner);
  }
}

// Outputs of expert e for tiles [begin, begin + tiles).
inline void quantized_out(const QuantizedMoEBlock& moe, int64_t e, int64_t begin, int64_t tiles) {
  const QuantizedExpert expert = quantized_expert(moe.args, e);
  const int64_t hidden = moe.args.moe.hidden;
  float* out = moe.block.out + moe.block.dispatch.first[e] * hidden;
  tiles_product(expert.down, begin, begin + tiles, hidden, moe.inner_of(e),
                [&](int64_t m, int64_t n, Vec y, int lanes) {
                  store_n(out + m * hidden + n, y, lanes);
                });
}

inline void run_quantized_experts(const QuantizedMoEArgs& args, const MoEBlock& block,
                                  const Parallel& parallel) {
  const Dispatch& d = block.dispatch;
  const int64_t routed = d.first[args.moe.experts], shared = d.pairs - routed;
  const int64_t floats = max_of(
      RoundedTokens::size(routed, args.gate_up.groups) +
          RoundedTokens::size(shared, args.shared_gate_up.groups),
      RoundedTokens::size(routed, args.down.groups) +
          RoundedTokens::size(shared, args.shared_down.groups));
  const SharedBuffer rounded(floats + 1);
  const QuantizedMoEBlock moe{args, block, rounded.floats()};
  const int64_t hidden = args.moe.hidden;
  const int64_t out_tiles = round_up(hidden, kTileOutputs) / kTileOutputs;
  const auto inner_of = [&](int64_t e) {
    return e == args.moe.experts ? args.moe.shared_inner : args.moe.inner;
  };
  constexpr int64_t kLeastTiles = 4;
  round_pairs(moe, parallel, [&](int64_t e) { return moe.inputs_of(e); },
              [&](int64_t, int64_t pair) { return args.moe.x + d.pair_token[pair] * hidden; },
              [&](int64_t) { return hidden; });
  for_each_share(block, parallel,
                 [&](int64_t e) { return round_up(inner_of(e), kTileOutputs) / kTileOutputs; },
                 kLeastTiles, 1,
                 [&](int64_t e, int64_t n, int64_t tiles) { quantized_inner(moe, e, n, tiles); });
  round_pairs(moe, parallel, [&](int64_t e) { return moe.inner_of(e); },
              [&](int64_t e, int64_t pair) {
                return block.inner_of(e) + (pair - d.first[e]) * inner_of(e);
              },
              inner_of);
  for_each_share(block, parallel, [&](int64_t) { return out_tiles; }, kLeastTiles, 1,
                 [&](int64_t e, int64_t n, int64_t tiles) { quantized_out(moe, e, n, tiles); });
  combine_tokens(block, parallel);
}

inline void quantized_moe(const QuantizedMoEArgs& args, const Parallel& parallel) {
  mixture(args.moe, parallel, [&](const MoEBlock& block) {
    run_quantized_experts(args, block, parallel);
  });
}

}  // namespace deltaport::DELTAPORT_ISA
