// The gated delta rule for GPUs in chunks of tokens, as prefill has it. The maths is that of
// chunk.h, but that columns of the state are rows here: a warp takes 16 of them, and its part of
// the state, a row of tiles, stays in registers from the first token to the last. Turned so, each
// product's result is the next one's left factor as it lies in registers; only keys, queries and
// what is made of their products are in shared memory, for all warps.
//
// A block takes all columns of a head: the products of keys and queries are needed once, the norm
// behind the rule finds the whole read-out, and nothing goes through memory in between. Blocks of
// fewer columns would be more blocks, but for the norm they would want a second kernel and floats
// in memory for it to read.
//
// The triangular system is solved tile by tile of 8 tokens. Only the 8 x 8 blocks on the diagonal
// are inverted, by substitution: no inverse is formed that keys much alike would spoil.
#pragma once

#include "kernels/gated_delta_rule/simt_chunk_tokens.h"
#include "simt/narrow.h"

namespace deltaport::DELTAPORT_ISA {

// One value head of one row.
template <class Element, class Team>
struct DeltaChunks {
  using Sum = Tile<Team>;

  const Team& team;
  const DeltaRuleArgs<Element>& args;
  const DeltaRuleHead<Element> head;
  DeltaChunkShared& shared;
  PerWarp<Sum[kKeyTiles], Team> state = {};  // [column, key]

  // Tiles beyond a head's size are left out.
  DELTAPORT_INLINE bool has_keys(int tile) const { return tile * kTileKeys < args.key_dim; }
  DELTAPORT_INLINE bool has_columns(int warp) const { return warp * kWarpColumns < args.value_dim; }

  // body(its place in memory, the element) for every element of the state.
  template <class Body>
  DELTAPORT_INLINE void each_of_state(const Body& body) {
    team.each_warp([&](int warp) {
      DELTAPORT_UNROLL
      for (int c = 0; c < kKeyTiles; ++c) {
        state[warp][c].each([&](int i, int j, float& own) {
          const int column = warp * kWarpColumns + i, key = c * kTileKeys + j;
          if (column < args.value_dim && key < args.key_dim) body(head.state_at(key, column), own);
        });
      }
    });
  }

  // k^T S and q^T S, turned.
  DELTAPORT_INLINE void multiply_state(int warp, Sum (&by_key)[kTokenTiles],
                                       Sum (&by_query)[kTokenTiles]) {
    DELTAPORT_UNROLL
    for (int c = 0; c < kKeyTiles; ++c) {
      if (!has_keys(c)) continue;
      const auto s = left_factor(state[warp][c]);
      DELTAPORT_UNROLL
      for (int t = 0; t < kTokenTiles; ++t) {
        const auto part_of = [&](const auto& rows) {
          return right_factor<Team>([&](int key, int token) {
            return rows[t * kTileTokens + token][c * kTileKeys + key];
          });
        };
        add_product(by_key[t], s, part_of(shared.k));
        add_product(by_query[t], s, part_of(shared.q));
      }
    }
  }

  // k^T S of the tokens of tile t becomes u, with u of the tiles before.
  DELTAPORT_INLINE void solve(int warp, int t, const LeftFactor<Team> (&before)[kTokenTiles],
                              Sum& u) {
    u.each([&](int i, int j, float& x) {
      const int token = t * kTileTokens + j;
      const float v = shared.v[token][warp * kWarpColumns + i];
      x = shared.beta[token] * fmaf(-shared.gamma[token], x, v);
    });
    DELTAPORT_UNROLL
    for (int s = 0; s < t; ++s) add_product(u, before[s], tile_of(shared.solve, t, s));
    const auto rest = left_factor(u);
    u = {};
    add_product(u, rest, tile_of(shared.inverse, t, 0));
  }

  // q^T S of the tokens of tile t becomes their read-out, which takes the place of v.
  DELTAPORT_INLINE void read_out(int warp, int t, const LeftFactor<Team> (&u)[kTokenTiles],
                                 Sum& out) {
    out.each([&](int, int j, float& x) { x *= shared.gamma[t * kTileTokens + j]; });
    DELTAPORT_UNROLL
    for (int s = 0; s <= t; ++s) add_product(out, u[s], tile_of(shared.read, t, s));
    out.each([&](int i, int j, float& x) {
      shared.v[t * kTileTokens + j][warp * kWarpColumns + i] = x;
    });
  }

  // Tile (t, s) of a matrix [token, earlier token], turned.
  template <class Matrix>
  static DELTAPORT_INLINE RightFactor<Team> tile_of(const Matrix& matrix, int t, int s) {
    return right_factor<Team>([&](int earlier, int token) {
      return matrix[t * kTileTokens + token][s * kTileTokens + earlier];
    });
  }

  DELTAPORT_INLINE void update_state(int warp, float whole,
                                     const LeftFactor<Team> (&u)[kTokenTiles]) {
    DELTAPORT_UNROLL
    for (int c = 0; c < kKeyTiles; ++c) {
      if (!has_keys(c)) continue;
      // The chunk's part is summed up first: added one by one, small parts would round away.
      Sum sum = {};
      DELTAPORT_UNROLL
      for (int t = 0; t < kTokenTiles; ++t) {
        add_product(sum, u[t], right_factor<Team>([&](int token, int key) {
          return shared.k[t * kTileTokens + token][c * kTileKeys + key];
        }));
      }
      state[warp][c].scale_and_add(whole, sum);
    }
  }

  // All that touches the state, of one warp's columns.
  DELTAPORT_INLINE void run_columns(int warp, int n) {
    Sum u[kTokenTiles] = {}, out[kTokenTiles] = {};
    multiply_state(warp, u, out);
    LeftFactor<Team> factors[kTokenTiles];
    DELTAPORT_UNROLL
    for (int t = 0; t < kTokenTiles; ++t) {
      solve(warp, t, factors, u[t]);
      factors[t] = left_factor(u[t]);
      read_out(warp, t, factors, out[t]);
    }
    DELTAPORT_UNROLL
    for (int t = 0; t < kTokenTiles; ++t) {  // decayed to the chunk's end
      u[t].each([&](int, int j, float& x) { x *= shared.tail[t * kTileTokens + j]; });
      factors[t] = left_factor(u[t]);
    }
    update_state(warp, shared.gamma[n - 1], factors);
  }

  DELTAPORT_INLINE void give(int64_t first, int n) {
    const auto& o = shared.v;
    if (args.norm != nullptr) {
      team.each([&](int thread) {
        const int token = thread / kTokenThreads, part = thread % kTokenThreads;
        float sum = 0;
        for (int c = part; c < args.value_dim; c += kTokenThreads) {
          sum = fmaf(o[token][c], o[token][c], sum);
        }
        shared.squares[0][token][part] = sum;
      });
    }
    team.each([&](int thread) {
      const int token = thread / kTokenThreads;
      if (token >= n) return;
      const int64_t t = first + token;
      const float squares = shared.sum_of_squares(0, token);
      for (int c = thread % kTokenThreads; c < args.value_dim; c += kTokenThreads) {
        narrow(head.output(o[token][c], squares, t, c), args.o + head.output_at(t) + c);
      }
    });
  }

  DELTAPORT_INLINE void clear_padding() {
    const int64_t length = head.length();
    team.each([&](int thread) {
      for (int64_t at = thread; at < (args.tokens - length) * args.value_dim; at += Team::threads) {
        const int64_t t = length + at / args.value_dim;
        narrow(0.0f, args.o + head.output_at(t) + at % args.value_dim);
      }
    });
  }

  DELTAPORT_INLINE void run() {
    const int64_t length = head.length();
    ChunkTokens<Element, Team> tokens{team, args, head, shared};
    each_of_state([&](int64_t at, float& own) { own = args.state[at]; });
    for (int64_t t = 0; t < length; t += kChunk) {
      const int n = static_cast<int>(length - t < kChunk ? length - t : kChunk);
      tokens.load(t, n);
      tokens.multiply();
      tokens.invert_diagonal();
      team.each_warp([&](int warp) {
        if (has_columns(warp)) run_columns(warp, n);
      });
      give(t, n);
    }
    clear_padding();
    each_of_state([&](int64_t at, float& own) { args.new_state[at] = own; });
  }
};

}  // namespace deltaport::DELTAPORT_ISA
