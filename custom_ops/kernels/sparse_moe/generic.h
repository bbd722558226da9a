// The vector body. Only the chosen experts' weights are read, each once for a block of tokens.
// First every pair of token and expert gets its inner activations, then its output, each task
// doing some rows of one expert; then every token sums up its pairs in ascending order of expert.
#pragma once

#include "kernels/matmul/product.h"
#include "kernels/sparse_moe/dispatch.h"
#include "kernels/swiglu/generic.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int64_t kMoETokens = 1024;  // of a block: bounds the memory for a long prompt

// One expert's weights.
struct Expert {
  Weights gate_up, down;
  int64_t inner;
};

inline Expert expert_at(const SparseMoEArgs& args, int64_t e) {
  if (e == args.experts) return {args.shared_gate_up, args.shared_down, args.shared_inner};
  const auto offset = [](const Weights& weights, int64_t elements) {
    return visit(weights, [&](auto* data) { return Weights{data + elements, weights.type}; });
  };
  return {offset(args.gate_up, e * 2 * args.inner * args.hidden),
          offset(args.down, e * args.hidden * args.inner), args.inner};
}

// Tokens as the products want them: in a panel where there are many, else one after another.
struct Gathered {
  int64_t tokens, width;
  float* data;
  float* row_panel;

  static int64_t size(int64_t tokens, int64_t width) {
    return token_panel_size(tokens, width) + row_panel_size(width);
  }
  template <class TokenAt>
  Gathered(int64_t tokens, int64_t width, TokenAt token, float* memory)
      : tokens(tokens), width(width), data(memory),
        row_panel(memory + token_panel_size(tokens, width)) {
    if (tokens > kFewTokens) {
      pack_tokens(tokens, width, token, data);
    } else {
      for (int64_t m = 0; m < tokens; ++m) copy_floats(data + m * width, token(m), width);
    }
  }

  // y[m * stride + n] for rows [begin, begin + rows) of `weights`.
  void multiply(const Weights& weights, int64_t begin, int64_t rows, float* y,
                int64_t stride) const {
    visit(weights, [&](auto* elements) {
      const auto* w = elements + begin * width;
      if (tokens > kFewTokens) {
        many_tokens_product(tokens, width, data, w, rows, row_panel, y, stride);
      } else {
        few_tokens_product(tokens, width, data, width, w, rows,
                           [&](int64_t m, int64_t n, float sum) { y[m * stride + n] = sum; });
      }
    });
  }
};

// What the tasks of a block share. Pairs of the shared expert have inner activations of another
// width than the others, and come last.
struct MoEBlock {
  const SparseMoEArgs& args;
  const Dispatch& dispatch;
  float* inner;  // [pairs, inner of the expert]
  float* out;    // [pairs, hidden]

  float* inner_of(int64_t e) const { return inner + dispatch.first[e] * args.inner; }
};

// Inner activations [begin, begin + rows) of expert e.
inline void expert_inner(const MoEBlock& block, int64_t e, int64_t begin, int64_t rows) {
  const SparseMoEArgs& args = block.args;
  const Expert expert = expert_at(args, e);
  const int64_t first = block.dispatch.first[e], tokens = block.dispatch.first[e + 1] - first;
  const auto token = [&](int64_t m) {
    return args.x + block.dispatch.pair_token[first + m] * args.hidden;
  };
  const int64_t size = Gathered::size(tokens, args.hidden);
  float* gate = thread_scratch(size + 2 * tokens * rows) + size;
  float* up = gate + tokens * rows;
  const Gathered gathered(tokens, args.hidden, token, gate - size);
  gathered.multiply(expert.gate_up, begin, rows, gate, rows);
  gathered.multiply(expert.gate_up, expert.inner + begin, rows, up, rows);
  float* inner = block.inner_of(e) + begin;
  for (int64_t m = 0; m < tokens; ++m) {
    swiglu_token(gate + m * rows, up + m * rows, rows, inner + m * expert.inner);
  }
}

// Outputs [begin, begin + rows) of expert e.
inline void expert_out(const MoEBlock& block, int64_t e, int64_t begin, int64_t rows) {
  const SparseMoEArgs& args = block.args;
  const Expert expert = expert_at(args, e);
  const int64_t first = block.dispatch.first[e], tokens = block.dispatch.first[e + 1] - first;
  const float* inner = block.inner_of(e);
  const auto token = [&](int64_t m) { return inner + m * expert.inner; };
  float* memory = thread_scratch(Gathered::size(tokens, expert.inner));
  const Gathered gathered(tokens, expert.inner, token, memory);
  gathered.multiply(expert.down, begin, rows, block.out + first * args.hidden + begin,
                    args.hidden);
}

// y of token t: the weighted outputs of its pairs.
inline void combine_token(const MoEBlock& block, int64_t t) {
  const Dispatch& d = block.dispatch;
  const int64_t hidden = block.args.hidden;
  float* y = block.args.y + d.token_of[t] * hidden;
  for_each_vector(hidden, [&](int64_t c, int n) {
    Vec total = Vec::zero();
    for (int64_t i = t * d.slots; i < (t + 1) * d.slots; ++i) {
      const Vec out = load_n(block.out + d.pair_of[i] * hidden + c, n);
      total = fmadd(Vec::all(d.weight[i]), out, total);
    }
    store_n(y + c, total, n);
  });
}

// body(e, begin, rows) for all rows of every expert that has a token, a share of them per task: at
// least `least`, and a multiple of `unit`. rows_of(e) says how many there are. Many tasks keep many
// threads busy, but each gathers tokens.
template <class RowsOf, class Body>
inline void for_each_share(const MoEBlock& block, const Parallel& parallel, RowsOf rows_of,
                           int64_t least, int64_t unit, Body body) {
  constexpr int64_t kTasks = 32;
  const Dispatch& d = block.dispatch;
  const int64_t experts = block.args.experts + 1;
  int64_t all_rows = 0;
  for (int64_t e = 0; e < experts; ++e) all_rows += d.first[e + 1] > d.first[e] ? rows_of(e) : 0;
  const int64_t rows_per_task = max_of(round_up(all_rows / kTasks + 1, unit), least);
  SharedBuffer begins(experts + 1);  // the first task of each expert
  int32_t* begin = begins.ints();
  begin[0] = 0;
  for (int64_t e = 0; e < experts; ++e) {
    const bool used = d.first[e + 1] > d.first[e];
    const int64_t shares = used ? round_up(rows_of(e), rows_per_task) / rows_per_task : 0;
    begin[e + 1] = begin[e] + static_cast<int32_t>(shares);
  }
  parallel(begin[experts], [&](size_t i) {
    int64_t e = 0;
    while (begin[e + 1] <= static_cast<int64_t>(i)) ++e;
    const int64_t at = (static_cast<int64_t>(i) - begin[e]) * rows_per_task;
    body(e, at, min_of(rows_per_task, rows_of(e) - at));
  });
}

inline void combine_tokens(const MoEBlock& block, const Parallel& parallel) {
  constexpr int64_t kTokens = 16;  // of a task
  const int64_t tokens = block.dispatch.tokens;
  parallel(round_up(tokens, kTokens) / kTokens, [&](size_t i) {
    const int64_t begin = static_cast<int64_t>(i) * kTokens;
    for (int64_t t = begin; t < min_of(begin + kTokens, tokens); ++t) combine_token(block, t);
  });
}

inline void run_experts(const MoEBlock& block, const Parallel& parallel) {
  const SparseMoEArgs& args = block.args;
  constexpr int64_t kLeastRows = 64;
  for_each_share(block, parallel,
                 [&](int64_t e) { return e == args.experts ? args.shared_inner : args.inner; },
                 kLeastRows, kTileRows, [&](int64_t e, int64_t n, int64_t rows) { expert_inner(block, e, n, rows); });
  for_each_share(block, parallel, [&](int64_t) { return args.hidden; }, kLeastRows, kTileRows,
                 [&](int64_t e, int64_t n, int64_t rows) { expert_out(block, e, n, rows); });
  combine_tokens(block, parallel);
}

// Routes the real tokens, and calls run(block) for each block of them.
template <class Run>
inline void mixture(const SparseMoEArgs& args, const Parallel& parallel, Run run) {
  const SharedBuffer numbers(args.rows * args.tokens + 1);
  int32_t* real = numbers.ints();
  int64_t count = 0;
  for (int64_t row = 0; row < args.rows; ++row) {
    for (int64_t t = 0; t < args.tokens; ++t) {
      const int64_t token = row * args.tokens + t;
      if (t < args.lengths[row]) {
        real[count++] = static_cast<int32_t>(token);
      } else {
        zero_floats(args.y + token * args.hidden, args.hidden);
      }
    }
  }
  const int64_t most = min_of(count, kMoETokens);
  const int64_t slots = args.top_k + 1;
  const SharedBuffer routes(Dispatch::size(args, most));
  const SharedBuffer activations(
      most * (args.top_k * args.inner + args.shared_inner + slots * args.hidden) + 1);
  float* out = activations.floats() + most * (args.top_k * args.inner + args.shared_inner);
  for (int64_t t = 0; t < count; t += kMoETokens) {
    const int64_t tokens = min_of(kMoETokens, count - t);
    const Dispatch d = dispatch(args, real + t, tokens, routes.ints(), parallel);
    run(MoEBlock{args, d, activations.floats(), out});
  }
}

inline void sparse_moe(const SparseMoEArgs& args, const Parallel& parallel) {
  mixture(args, parallel, [&](const MoEBlock& block) { run_experts(block, parallel); });
}

}  // namespace deltaport::DELTAPORT_ISA
