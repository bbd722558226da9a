// The vector body: tasks are blocks of outputs, and of tokens where there are many.
#pragma once

#include "kernels/linear/linear.h"
#include "kernels/matmul/product.h"
#include "kernels/parallel.h"
#include "kernels/scratch.h"

namespace deltaport::DELTAPORT_ISA {

// At most kFewTokens tokens.
template <class Element>
void linear_of_few(const LinearArgs& args, const Element* weight, const Parallel& parallel) {
  constexpr int64_t kWork = 256 * 1024;  // weights of a task
  const int64_t rows = max_of(kWork / max_of(args.inputs, 1), 1);
  parallel(round_up(args.outputs, rows) / rows, [&](size_t i) {
    const int64_t n = static_cast<int64_t>(i) * rows;
    few_tokens_product(args.tokens, args.inputs, args.x, args.inputs, weight + n * args.inputs,
                       min_of(rows, args.outputs - n), [&](int64_t m, int64_t row, float y) {
                         args.y[m * args.outputs + n + row] = y;
                       });
  });
}

// Tokens [begin, begin + tokens), which are packed once for all tasks.
template <class Element>
void linear_of_many(const LinearArgs& args, const Element* weight, int64_t begin, int64_t tokens,
                    float* panel, const Parallel& parallel) {
  const int64_t tiles = round_up(tokens, kTileTokens) / kTileTokens;
  const float* x = args.x + begin * args.inputs;
  parallel(tiles, [&](size_t tile) {
    pack_token_tile(tokens, args.inputs, [&](int64_t t) { return x + t * args.inputs; }, tile,
                    panel);
  });
  // A task has some panels of rows and, where those are few, some of the tokens.
  constexpr int64_t kTasks = 64, kLeastTiles = 8;
  const int64_t panels = round_up(args.outputs, kTileRows) / kTileRows;
  const int64_t rows = max_of(1, panels / kTasks) * kTileRows;
  const int64_t columns = round_up(args.outputs, rows) / rows;
  const int64_t lines = max_of(1, min_of(kTasks / columns, tiles / kLeastTiles));
  const int64_t tiles_per_line = round_up(tiles, lines) / lines;
  parallel(columns * lines, [&](size_t i) {
    const int64_t tile = static_cast<int64_t>(i) % lines * tiles_per_line;
    const int64_t m = tile * kTileTokens, n = static_cast<int64_t>(i) / lines * rows;
    if (m >= tokens) return;
    many_tokens_product(min_of(tiles_per_line * kTileTokens, tokens - m), args.inputs,
                        panel + tile * token_tile_size(args.inputs), weight + n * args.inputs,
                        min_of(rows, args.outputs - n),
                        thread_scratch(row_panel_size(args.inputs)),
                        args.y + (begin + m) * args.outputs + n, args.outputs);
  });
}

inline void linear(const LinearArgs& args, const Parallel& parallel) {
  constexpr int64_t kTokens = 1024;  // of a block: bounds the memory for a long prompt
  if (args.outputs == 0) return;
  visit(args.weight, [&](auto* weight) {
    if (args.tokens <= kFewTokens) return linear_of_few(args, weight, parallel);
    const SharedBuffer panel(token_panel_size(min_of(args.tokens, kTokens), args.inputs));
    for (int64_t t = 0; t < args.tokens; t += kTokens) {
      linear_of_many(args, weight, t, min_of(kTokens, args.tokens - t), panel.floats(), parallel);
    }
  });
}

}  // namespace deltaport::DELTAPORT_ISA
