// Queries against a stretch of the cache, block of columns by block, with a running softmax.
//
// A query is a lane of vectors: what happens to it does not depend on the queries beside it. Blocks
// of columns start at whole multiples of kBlock, wherever a row's tokens start.
#pragma once

#include "kernels/gated_attention/cache.h"
#include "kernels/matmul/outer_tile.h"
#include "kernels/matmul/product.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int64_t kBlock = 64;  // columns of a block
// Lanes are whole vectors and whole tiles.
constexpr int64_t kLanes = Vec::width > OuterTile::rows ? Vec::width : OuterTile::rows;

// Queries of one key/value head: those of its group of heads for some tokens, token by token.
struct Queries {
  int64_t row, kv_head, token, tokens;  // tokens [token, token + tokens) of the row
};

// Memory of a task.
struct AttendScratch {
  int64_t lanes;       // queries, rounded up
  int64_t value_dim;   // head_dim, rounded up
  float* queries;      // [lanes, head_dim]
  float* query_panel;  // as pack_tokens makes it
  float* key_panel;
  float* scores;    // [kBlock, lanes], then probabilities
  float* position;  // [lanes] the last column a query sees
  float* correction;  // [lanes]
  float* values;    // [kBlock, value_dim], where head_dim is not a whole number of tiles

  static int64_t lanes_of(int64_t queries) { return round_up(queries, kLanes); }
  static int64_t size(int64_t queries, int64_t head_dim) {
    const int64_t lanes = lanes_of(queries);
    return lanes * head_dim + token_panel_size(lanes, head_dim) + row_panel_size(head_dim) +
           (kBlock + 2) * lanes + kBlock * round_up(head_dim, OuterTile::columns) + 16 * 7;
  }
  AttendScratch(int64_t queries, int64_t head_dim, float* memory)
      : lanes(lanes_of(queries)), value_dim(round_up(head_dim, OuterTile::columns)) {
    const auto take = [&](int64_t floats) {
      float* taken = memory;
      memory += round_up(floats, 16);
      return taken;
    };
    this->queries = take(lanes * head_dim);
    query_panel = take(token_panel_size(lanes, head_dim));
    key_panel = take(row_panel_size(head_dim));
    scores = take(kBlock * lanes);
    position = take(lanes);
    correction = take(lanes);
    values = take(kBlock * value_dim);
  }
};

// Softmax in the making. For every query: the largest score, the sum of exp(score - largest), and
// the values weighted by that.
struct Attended {
  float* largest;  // [lanes]
  float* total;    // [lanes]
  float* values;   // [lanes, value_dim]

  static int64_t size(int64_t lanes, int64_t value_dim) { return lanes * (value_dim + 2); }
  static Attended at(int64_t lanes, float* memory) {
    return {memory, memory + lanes, memory + 2 * lanes};
  }
  // Having seen nothing.
  static Attended start(int64_t lanes, int64_t value_dim, float* memory) {
    const Attended a = at(lanes, memory);
    float* largest = a.largest;
    for (int64_t i = 0; i < lanes; ++i) largest[i] = -__builtin_inff();
    zero_floats(a.total, lanes * (value_dim + 1));
    return a;
  }
};

inline void load_queries(const GatedAttentionArgs& args, const Queries& q, const AttendScratch& s) {
  const int64_t D = args.head_dim, G = args.group(), count = q.tokens * G;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t t = q.token + i / G, token = q.row * args.tokens + t;
    const int64_t head = q.kv_head * G + i % G;
    const float* from = args.q_gate + (token * args.query_heads + head) * 2 * D;
    norm_and_rotate(args, token, from, args.q_norm, args.scale, s.queries + i * D);
    s.position[i] = static_cast<float>(args.past_lengths[q.row] + t);
  }
  for (int64_t i = count; i < s.lanes; ++i) s.position[i] = -1.0f;
  zero_floats(s.scores, kBlock * s.lanes);
  if (count > 2 * kFewTokens) {
    pack_tokens(count, D, [&](int64_t i) { return s.queries + i * D; }, s.query_panel);
  }
}

// scores[c, i] = query i . key c, for n columns
inline void score_block(int64_t count, int64_t head_dim, const float* keys, int64_t n,
                        const AttendScratch& s) {
  const auto put_from = [&](int64_t first) {
    return [&s, first](int64_t i, int64_t c, float y) { s.scores[c * s.lanes + first + i] = y; };
  };
  if (count > 2 * kFewTokens) {
    many_tokens_product(count, head_dim, s.query_panel, keys, n, s.key_panel, put_from(0));
    return;
  }
  for (int64_t i = 0; i < count; i += kFewTokens) {
    few_tokens_product(min_of(kFewTokens, count - i), head_dim, s.queries + i * head_dim, head_dim,
                       keys, n, put_from(i));
  }
}

// Scores become exp(score - largest so far); `correction` is what sums so far are worth now.
inline void softmax_block(int64_t column, int64_t n, const AttendScratch& s, const Attended& a) {
  for (int64_t i = 0; i < s.lanes; i += Vec::width) {
    const Vec before = load(a.largest + i), position = load(s.position + i);
    Vec largest = before;
    for (int64_t c = 0; c < n; ++c) {
      float* score = s.scores + c * s.lanes + i;
      // -infinity where the query does not see the column; NaN stays.
      const Vec seen = hide_beyond(load(score), Vec::all(static_cast<float>(column + c)), position);
      store(score, seen);
      largest = max(largest, seen);
    }
    // A lane without a query has seen nothing and stays at 0, not at NaN.
    const Vec from = max(Vec::all(-3e38f), largest);
    const Vec correction = exp(before - from);
    Vec total = correction * load(a.total + i);
    for (int64_t c = 0; c < n; ++c) {
      float* score = s.scores + c * s.lanes + i;
      const Vec p = exp(load(score) - from);
      store(score, p);
      total += p;
    }
    store(a.largest + i, largest);
    store(a.total + i, total);
    store(s.correction + i, correction);
  }
}

// values[i] = correction[i] * values[i] + sum over n columns of p[c, i] * V[c]
inline void add_values(const float* values, int64_t stride, int64_t n, const AttendScratch& s,
                       const Attended& a) {
  for (int64_t i = 0; i < s.lanes; i += OuterTile::rows) {
    for (int64_t d = 0; d < s.value_dim; d += OuterTile::columns) {
      OuterTile tile;
      float* sums = a.values + i * s.value_dim + d;
      tile.load_scaled(sums, s.value_dim, [&](int r) { return s.correction[i + r]; });
      tile.multiply_add(s.scores + i, s.lanes, values + d, stride, n);
      tile.store_to(sums, s.value_dim);
    }
  }
}

// Columns [begin, end) of the cache; begin is a multiple of kBlock.
inline void attend(const GatedAttentionArgs& args, const Queries& q, int64_t begin, int64_t end,
                   const AttendScratch& s, const Attended& a) {
  const int64_t D = args.head_dim;
  const int64_t plane = (q.row * args.kv_heads + q.kv_head) * args.capacity * D;
  load_queries(args, q, s);
  if (D != s.value_dim) zero_floats(s.values, kBlock * s.value_dim);
  for (int64_t column = begin; column < end; column += kBlock) {
    const int64_t n = min_of(kBlock, end - column), at = plane + column * D;
    score_block(q.tokens * args.group(), D, args.present_key + at, n, s);
    softmax_block(column, n, s, a);
    if (D == s.value_dim) {
      add_values(args.present_value + at, D, n, s, a);
      continue;
    }
    for (int64_t c = 0; c < n; ++c) {
      copy_floats(s.values + c * s.value_dim, args.present_value + at + c * D, D);
    }
    add_values(s.values, s.value_dim, n, s, a);
  }
}

}  // namespace deltaport::DELTAPORT_ISA
