// The vector body: tasks are blocks of outputs, and of tokens where there are many.
#pragma once

#include "kernels/linear/linear.h"
#include "kernels/matmul/product.h"
#include "kernels/parallel.h"
#include "kernels/scratch.h"

namespace deltaport::DELTAPORT_ISA {

template <class Element>
void linear_block(const LinearArgs& args, const Element* weight, int64_t m, int64_t tokens,
                  int64_t n, int64_t rows) {
  const float* x = args.x + m * args.inputs;
  const Element* w = weight + n * args.inputs;
  const auto put = [&](int64_t token, int64_t row, float y) {
    args.y[(m + token) * args.outputs + n + row] = y;
  };
  if (tokens <= kFewTokens) {
    few_tokens_product(tokens, args.inputs, x, args.inputs, w, rows, put);
    return;
  }
  const int64_t panel = token_panel_size(tokens, args.inputs);
  float* scratch = thread_scratch(panel + row_panel_size(args.inputs));
  pack_tokens(tokens, args.inputs, [&](int64_t t) { return x + t * args.inputs; }, scratch);
  many_tokens_product(tokens, args.inputs, scratch, w, rows, scratch + panel, put);
}

inline void linear(const LinearArgs& args, const Parallel& parallel) {
  constexpr int64_t kPanel = 128 * 1024;  // floats of a panel of tokens: half a second-level cache
  constexpr int64_t kWork = 256 * 1024;   // weights of a task with few tokens
  const int64_t fitting = kPanel / max_of(args.inputs, 1) / kTileTokens * kTileTokens;
  const int64_t tokens = min_of(max_of(fitting, 4 * kTileTokens), args.tokens);
  const bool few = args.tokens <= kFewTokens;
  const int64_t rows = few ? max_of(kWork / max_of(args.inputs, 1), 1) : 16 * kTileRows;
  const int64_t columns = round_up(args.outputs, rows) / rows;
  const int64_t lines = args.tokens == 0 ? 0 : round_up(args.tokens, tokens) / tokens;
  visit(args.weight, [&](auto* weight) {
    parallel(columns * lines, [&](size_t i) {
      const int64_t m = static_cast<int64_t>(i) / columns * tokens;
      const int64_t n = static_cast<int64_t>(i) % columns * rows;
      linear_block(args, weight, m, min_of(tokens, args.tokens - m), n,
                   min_of(rows, args.outputs - n));
    });
  });
}

}  // namespace deltaport::DELTAPORT_ISA
