// The vector body: tokens are rounded once, and tasks are runs of tiles.
#pragma once

#include "kernels/parallel.h"
#include "kernels/quantized/tile_product.h"
#include "kernels/quantized_linear/quantized_linear.h"
#include "kernels/scratch.h"

namespace deltaport::DELTAPORT_ISA {

// How many tiles a task has: enough work to be worth it, and several tasks for each thread.
inline int64_t tiles_of_task(int64_t tiles, int64_t tile_bytes, int64_t tokens) {
  constexpr int64_t kWork = 64 * 1024, kTasks = 32;
  return max_of(1, max_of(tiles / kTasks, kWork / max_of(1, tile_bytes * tokens)));
}

inline void quantized_linear(const QuantizedLinearArgs& args, const Parallel& parallel) {
  constexpr int64_t kTokens = 1024;  // of a block: bounds the memory for a long prompt
  const QuantizedWeights& w = args.weight;
  const int64_t tiles = round_up(args.outputs, kTileOutputs) / kTileOutputs;
  const int64_t most = min_of(args.tokens, kTokens);
  const SharedBuffer memory(RoundedTokens::size(most, w.groups) + 1);
  for (int64_t t = 0; t < args.tokens; t += kTokens) {
    const int64_t tokens = min_of(kTokens, args.tokens - t);
    RoundedTokens x(tokens, w, memory.floats());
    constexpr int64_t kShare = 16;
    parallel(round_up(tokens, kShare) / kShare, [&](size_t i) {
      const int64_t begin = static_cast<int64_t>(i) * kShare;
      for (int64_t m = begin; m < min_of(begin + kShare, tokens); ++m) {
        x.round(m, args.x + (t + m) * args.inputs, args.inputs);
      }
    });
    const int64_t share = tiles_of_task(tiles, w.tile_bytes(), tokens);
    parallel(round_up(tiles, share) / share, [&](size_t i) {
      const int64_t begin = static_cast<int64_t>(i) * share;
      tiles_product(w, begin, min_of(begin + share, tiles), args.outputs, x,
                    [&](int64_t m, int64_t n, Vec y, int lanes) {
                      store_n(args.y + (t + m) * args.outputs + n, y, lanes);
                    });
    });
  }
}

}  // namespace deltaport::DELTAPORT_ISA
