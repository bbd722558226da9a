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

// Rows [begin, begin + rows) of `weights` times the tokens that token(m) finds.
template <class TokenAt, class Put>
inline void multiply(const Weights& weights, int64_t width, int64_t begin, int64_t rows,
                     int64_t tokens, TokenAt token, const float* panel, float* row_panel, Put put) {
  visit(weights, [&](auto* data) {
    const auto* w = data + begin * width;
    if (tokens > kFewTokens) {
      many_tokens_product(tokens, width, panel, w, rows, row_panel, put);
      return;
    }
    // Few tokens may lie anywhere: each distance between them is its own product.
    const bool evenly = tokens < 3 || token(2) - token(1) == token(1) - token(0);
    const bool all = evenly && (tokens < 4 || token(3) - token(2) == token(1) - token(0));
    if (all) {
      const int64_t stride = tokens > 1 ? token(1) - token(0) : 0;
      few_tokens_product(tokens, width, token(0), stride, w, rows, put);
      return;
    }
    for (int64_t m = 0; m < tokens; ++m) {
      few_tokens_product(1, width, token(m), 0, w, rows,
                         [&](int64_t, int64_t n, float y) { put(m, n, y); });
    }
  });
}

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
  const int64_t panel_size = tokens > kFewTokens ? token_panel_size(tokens, args.hidden) : 0;
  float* panel = thread_scratch(panel_size + row_panel_size(args.hidden) + 2 * tokens * rows);
  float* row_panel = panel + panel_size;
  float* gate = row_panel + row_panel_size(args.hidden);
  float* up = gate + tokens * rows;
  if (panel_size > 0) pack_tokens(tokens, args.hidden, token, panel);
  const auto put_to = [&](float* to) {
    return [=](int64_t m, int64_t n, float y) { to[m * rows + n] = y; };
  };
  multiply(expert.gate_up, args.hidden, begin, rows, tokens, token, panel, row_panel, put_to(gate));
  multiply(expert.gate_up, args.hidden, expert.inner + begin, rows, tokens, token, panel,
           row_panel, put_to(up));
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
  const int64_t panel_size = tokens > kFewTokens ? token_panel_size(tokens, expert.inner) : 0;
  float* panel = thread_scratch(panel_size + row_panel_size(expert.inner));
  if (panel_size > 0) pack_tokens(tokens, expert.inner, token, panel);
  float* out = block.out + first * args.hidden + begin;
  multiply(expert.down, expert.inner, begin, rows, tokens, token, panel, panel + panel_size,
           [&](int64_t m, int64_t n, float y) { out[m * args.hidden + n] = y; });
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

// body(e, begin, rows) for all rows of every expert that has a token, a share of them per task.
// rows_of(e) says how many there are.
template <class RowsOf, class Body>
inline void for_each_share(const MoEBlock& block, int64_t rows_per_task, const Parallel& parallel,
                           RowsOf rows_of, Body body) {
  const Dispatch& d = block.dispatch;
  const int64_t experts = block.args.experts + 1;
  SharedBuffer begins(experts + 1);  // the first task of each expert
  int32_t* begin = begins.ints();
  begin[0] = 0;
  for (int64_t e = 0; e < experts; ++e) {
    const bool used = d.first[e + 1] > d.first[e];
    begin[e + 1] =
        begin[e] + (used ? static_cast<int32_t>(round_up(rows_of(e), rows_per_task) / rows_per_task) : 0);
  }
  parallel(begin[experts], [&](size_t i) {
    int64_t e = 0;
    while (begin[e + 1] <= static_cast<int64_t>(i)) ++e;
    const int64_t at = (static_cast<int64_t>(i) - begin[e]) * rows_per_task;
    body(e, at, min_of(rows_per_task, rows_of(e) - at));
  });
}

inline void run_experts(const MoEBlock& block, const Parallel& parallel) {
  const SparseMoEArgs& args = block.args;
  // Few tokens: small tasks, as weights are all there is to read. Many: packing tokens should pay.
  const bool few = block.dispatch.tokens <= 2 * kFewTokens;
  const auto inner_of = [&](int64_t e) { return e == args.experts ? args.shared_inner : args.inner; };
  for_each_share(block, few ? 10 * kTileRows : 32 * kTileRows, parallel, inner_of,
                 [&](int64_t e, int64_t n, int64_t rows) { expert_inner(block, e, n, rows); });
  for_each_share(block, few ? 40 * kTileRows : 128 * kTileRows, parallel,
                 [&](int64_t) { return args.hidden; },
                 [&](int64_t e, int64_t n, int64_t rows) { expert_out(block, e, n, rows); });
  constexpr int64_t kTokens = 16;  // of a task
  const int64_t tokens = block.dispatch.tokens;
  parallel(round_up(tokens, kTokens) / kTokens, [&](size_t i) {
    const int64_t begin = static_cast<int64_t>(i) * kTokens;
    for (int64_t t = begin; t < min_of(begin + kTokens, tokens); ++t) combine_token(block, t);
  });
}

inline void sparse_moe(const SparseMoEArgs& args, const Parallel& parallel) {
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
    run_experts({args, d, activations.floats(), out}, parallel);
  }
}

}  // namespace deltaport::DELTAPORT_ISA
