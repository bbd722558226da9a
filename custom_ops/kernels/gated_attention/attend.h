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
constexpr int64_t kFewQueries = 8;  // up to so many, keys are used where they lie
constexpr int64_t kValues = OuterTile<1>::columns;  // elements of a value that a tile has
// Floats from one tile's part of a block to the next one's: a line more than it has, or the parts of
// one value, which are written together, would fight for the same lines of the first-level cache.
constexpr int64_t kValuesStride = (kBlock + 1) * kValues;

// Queries of one key/value head: those of its group of heads for some tokens, token by token.
struct Queries {
  int64_t row, kv_head, token, tokens;  // tokens [token, token + tokens) of the row
};

// Memory of a task.
struct AttendScratch {
  int64_t lanes;       // queries, rounded up to whole vectors
  int64_t value_dim;   // head_dim, rounded up
  float* queries;      // [lanes, head_dim]
  float* query_panel;  // as pack_panel makes it of rows
  float* key_panel;    // as pack_tokens does
  float* scores;    // [kBlock, lanes], then probabilities
  float* position;  // [lanes] the last column a query sees
  float* correction;  // [lanes]
  float* values;    // a block as pack_values makes it

  static int64_t lanes_of(int64_t queries) { return round_up(queries, Vec::width); }
  static int64_t row_panels_of(int64_t lanes) { return round_up(lanes, kTileRows) / kTileRows; }
  static int64_t values_size(int64_t head_dim) {
    return round_up(head_dim, kValues) / kValues * kValuesStride;
  }
  static int64_t size(int64_t queries, int64_t head_dim) {
    const int64_t lanes = lanes_of(queries);
    return lanes * head_dim + row_panels_of(lanes) * row_panel_size(head_dim) +
           token_panel_size(kBlock, head_dim) +
           (kBlock + 2) * lanes + values_size(head_dim) + 16 * 7;
  }
  AttendScratch(int64_t queries, int64_t head_dim, float* memory)
      : lanes(lanes_of(queries)), value_dim(round_up(head_dim, kValues)) {
    const auto take = [&](int64_t floats) {
      float* taken = memory;
      memory += round_up(floats, 16);
      return taken;
    };
    this->queries = take(lanes * head_dim);
    query_panel = take(row_panels_of(lanes) * row_panel_size(head_dim));
    key_panel = take(token_panel_size(kBlock, head_dim));
    scores = take(kBlock * lanes);
    position = take(lanes);
    correction = take(lanes);
    values = take(values_size(head_dim));
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
  if (count <= kFewQueries) return;
  for (int64_t first = 0; first < count; first += kTileRows) {
    const auto query = [&](int r) -> const float* {
      return first + r < count ? s.queries + (first + r) * D : nullptr;
    };
    pack_panel<kTileRows>(D, query, s.query_panel + first / kTileRows * row_panel_size(D));
  }
}

// scores[c, i] = query i . key c, for n columns
inline void score_block(int64_t count, int64_t head_dim, const float* keys, int64_t n,
                        const AttendScratch& s) {
  if (count <= kFewQueries) {
    few_tokens_product(count, head_dim, s.queries, head_dim, keys, n,
                       [&](int64_t i, int64_t c, float y) { s.scores[c * s.lanes + i] = y; });
    return;
  }
  // Queries are the rows here, so that a column's scores lie side by side.
  pack_tokens(n, head_dim, [&](int64_t c) { return keys + c * head_dim; }, s.key_panel);
  for (int64_t first = 0; first < count; first += kTileRows) {
    const float* panel = s.query_panel + first / kTileRows * row_panel_size(head_dim);
    for (int64_t c = 0; c < n; c += kTileTokens) {
      panel_tile_of<kTileTokens>(min_of(kTileTokens, n - c), vectors_of(head_dim),
                                 s.key_panel + c / kTileTokens * token_tile_size(head_dim), panel,
                                 count - first, s.scores + c * s.lanes + first, s.lanes);
    }
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

// values[i] = correction[i] * values[i] + sum over n columns of p[c, i] * V[c], for kValues elements
// from d on and `queries` lanes from i on, at most M.
template <int M>
inline void values_tile(int64_t i, int64_t queries, int64_t d, int64_t n, const AttendScratch& s,
                        const Attended& a) {
  if constexpr (M > 1) {
    if (queries < M) return values_tile<M - 1>(i, queries, d, n, s, a);
  }
  OuterTile<M> tile;
  float* sums = a.values + i * s.value_dim + d;
  tile.load_scaled(sums, s.value_dim, [&](int r) { return s.correction[i + r]; });
  tile.multiply_add(s.scores + i, s.lanes, s.values + d / kValues * kValuesStride, kValues, n);
  tile.store_to(sums, s.value_dim);
}

// n values of head_dim elements become what the tiles read, from several stretches of memory at once:
// it gives more that way.
inline void pack_values(int64_t head_dim, const float* values, int64_t n, float* packed) {
  constexpr int64_t kStretches = 4;
  const int64_t stretch = round_up(n, kStretches) / kStretches;
  for (int64_t first = 0; first < stretch; ++first) {
    for_each_vector(head_dim, [&](int64_t d, int w) {
      float* to = packed + d / kValues * kValuesStride + d % kValues;
      for (int64_t c = first; c < n; c += stretch) {
        store(to + c * kValues, load_n(values + c * head_dim + d, w));
      }
    });
  }
}

inline void add_values(int64_t count, int64_t head_dim, const float* values, int64_t n,
                       const AttendScratch& s, const Attended& a) {
  pack_values(head_dim, values, n, s.values);
  for (int64_t d = 0; d < head_dim; d += kValues) {
    for (int64_t i = 0; i < count; i += kTileTokens) {
      values_tile<kTileTokens>(i, min_of(kTileTokens, count - i), d, n, s, a);
    }
  }
}

// Columns [begin, end) of the cache; begin is a multiple of kBlock.
inline void attend(const GatedAttentionArgs& args, const Queries& q, int64_t begin, int64_t end,
                   const AttendScratch& s, const Attended& a) {
  const int64_t D = args.head_dim;
  const int64_t plane = (q.row * args.kv_heads + q.kv_head) * args.capacity * D;
  const int64_t count = q.tokens * args.group();
  load_queries(args, q, s);
  // What pads a value's last tile.
  if (D != s.value_dim) zero_floats(s.values, AttendScratch::values_size(D));
  for (int64_t column = begin; column < end; column += kBlock) {
    const int64_t n = min_of(kBlock, end - column), at = plane + column * D;
    score_block(count, D, args.present_key + at, n, s);
    softmax_block(column, n, s, a);
    add_values(count, D, args.present_value + at, n, s, a);
  }
}

}  // namespace deltaport::DELTAPORT_ISA
