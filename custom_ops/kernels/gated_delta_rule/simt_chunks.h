// The gated delta rule for GPUs in chunks of tokens, as prefill has it. The maths is that of chunk.h,
// but that columns of the state are rows here: a warp takes 16 of them, and its part of the state, a
// row of tiles, stays in registers from the first token to the last. Turned so, each product's result
// is the next one's left factor as it lies in registers; only keys, queries and what is made of their
// products are in shared memory, for all warps.
//
// A block takes all columns of a head: the products of keys and queries are needed once, the norm
// behind the rule finds the whole read-out, and nothing goes through memory in between. Blocks of
// fewer columns would be more blocks, but for the norm they would want a second kernel and floats in
// memory for it to read.
//
// The triangular system is solved tile by tile of 8 tokens. Only the 8 x 8 blocks on the diagonal are
// inverted, by substitution: no inverse is formed that keys much alike would spoil.
#pragma once

#include "kernels/gated_delta_rule/simt_head.h"
#include "simt/narrow.h"
#include "simt/tile.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int kChunk = 32, kTileTokens = 8, kTokenTiles = kChunk / kTileTokens;
constexpr int kTileKeys = 8, kKeyTiles = kMostKeyDim / kTileKeys;
constexpr int kWarpColumns = 16;
constexpr int kChunkThreads = kMostValueDim / kWarpColumns * kLanes;
constexpr int kTokenThreads = kChunkThreads / kChunk;  // that share a token

// Its exponential is 0; what is less, even infinite, may be taken for it, so that sums are finite.
constexpr float kLogOfNothing = -128.0f;

// A row's length is 8 floats more than a multiple of 32 banks, so that the 8 rows and 4 pairs of
// columns that a warp reads at once are in different ones; of v it reads 8 columns of every other row.
struct DeltaChunkShared {
  alignas(16) float q[kChunk][kMostKeyDim + 8], k[kChunk][kMostKeyDim + 8];
  alignas(16) float v[kChunk][kMostValueDim + 4];  // then the read-out
  alignas(16) float solve[kChunk][kChunk + 8];    // -beta[i] D[i,j] (k[i].k[j]), 0 unless j < i
  alignas(16) float read[kChunk][kChunk + 8];     // D[i,j], then D[i,j] (q[i].k[j]), 0 unless j <= i
  alignas(16) float inverse[kChunk][kTileTokens];  // of the blocks on the diagonal
  float squares[2][kChunk][kTokenThreads];        // parts of the sums of q^2 and k^2; of o^2
  float log_decay[kChunk], beta[kChunk], gamma[kChunk], tail[kChunk];
};
static_assert(sizeof(DeltaChunkShared) <= 99 * 1024);  // what a block may have on any of the GPUs

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

  // Unit vectors q, scaled, and k of tokens [t, t + n), and v, then zeros; and their gates.
  DELTAPORT_INLINE void load_tokens(int64_t t, int n) {
    constexpr int kOwn = kMostKeyDim / kTokenThreads;
    PerThread<float[2][kOwn], Team> own;
    team.each([&](int thread) {
      const int token = thread / kTokenThreads, part = thread % kTokenThreads;
      const bool is_token = token < n;
      const Element *q = head.q(is_token ? t + token : t), *k = head.k(is_token ? t + token : t);
      float(&mine)[2][kOwn] = own[thread];
      float squares[2] = {};
      DELTAPORT_UNROLL
      for (int i = 0; i < kOwn; ++i) {
        const int c = i * kTokenThreads + part;
        const bool is_real = is_token && c < args.key_dim;
        mine[0][i] = is_real ? as_float(q[c]) : 0.0f;
        mine[1][i] = is_real ? as_float(k[c]) : 0.0f;
        squares[0] = fmaf(mine[0][i], mine[0][i], squares[0]);
        squares[1] = fmaf(mine[1][i], mine[1][i], squares[1]);
      }
      const Element* v = head.v(is_token ? t + token : t);
      for (int c = part; c < kMostValueDim; c += kTokenThreads) {
        shared.v[token][c] = is_token && c < args.value_dim ? as_float(v[c]) : 0.0f;
      }
      shared.squares[0][token][part] = squares[0];
      shared.squares[1][token][part] = squares[1];
      if (thread < kChunk) {
        const Vec log_decay = Vec::all(thread < n ? head.log_decay(t + thread) : 0.0f);
        shared.log_decay[thread] = max(Vec::all(kLogOfNothing), log_decay).v;
        shared.beta[thread] = thread < n ? head.beta(t + thread) : 0.0f;
      }
    });
    team.each([&](int thread) {
      const int token = thread / kTokenThreads, part = thread % kTokenThreads;
      const bool is_token = token < n;  // without an eps the scale of zeros would be infinite
      const float q_scale = is_token ? head.q_scale(sum_of_squares(0, token)) : 0.0f;
      const float k_scale = is_token ? head.k_scale(sum_of_squares(1, token)) : 0.0f;
      DELTAPORT_UNROLL
      for (int i = 0; i < kOwn; ++i) {
        const int c = i * kTokenThreads + part;
        shared.q[token][c] = own[thread][0][i] * q_scale;
        shared.k[token][c] = own[thread][1][i] * k_scale;
      }
      load_decays(thread, n);
    });
  }

  DELTAPORT_INLINE float sum_of_squares(int which, int token) const {
    float sum = 0;
    for (int part = 0; part < kTokenThreads; ++part) sum += shared.squares[which][token][part];
    return sum;
  }

  // The decay by tokens [first, last): the exponential of their own sum of log decays. A product of
  // decays would round once a token, a difference of running sums cancel. What rounding takes from the
  // sum is summed as well (Knuth's TwoSum): of a large sum it would be many units of the exponential.
  DELTAPORT_INLINE float decay(int first, int last) const {
    float sum = 0, lost = 0;
    for (int i = first; i < last; ++i) {
      const float term = shared.log_decay[i], next = sum + term, added = next - sum;
      lost += (sum - (next - added)) + (term - added);
      sum = next;
    }
    const float rounded = exp(Vec::all(sum)).v;
    return fmaf(rounded, lost, rounded);
  }
  DELTAPORT_INLINE void load_decays(int thread, int n) {
    for (int at = thread; at < kChunk * kChunk; at += Team::threads) {
      const int i = at / kChunk, j = at % kChunk;
      shared.read[i][j] = j <= i && i < n ? decay(j + 1, i + 1) : 0.0f;
    }
    if (thread < kChunk) {
      shared.gamma[thread] = thread < n ? decay(0, thread + 1) : 0.0f;
    } else if (thread < 2 * kChunk) {
      const int j = thread - kChunk;
      shared.tail[j] = j < n ? decay(j + 1, n) : 0.0f;
    }
  }

  // Products of keys and queries, decayed. A warp takes 16 rows of tokens and 8 columns of them.
  DELTAPORT_INLINE void multiply_keys() {
    team.each_warp([&](int warp) {
      const int first = warp / kTokenTiles * 16, tile = warp % kTokenTiles * kTileTokens;
      Sum kk = {}, qk = {};
      for (int c = 0; c < args.key_dim && tile < first + 16; c += kTileKeys) {
        const auto k = right_factor<Team>([&](int j, int i) { return shared.k[tile + i][c + j]; });
        add_product(kk, left_factor<Team>([&](int i, int j) { return shared.k[first + i][c + j]; }),
                    k);
        add_product(qk, left_factor<Team>([&](int i, int j) { return shared.q[first + i][c + j]; }),
                    k);
      }
      kk.each([&](int row, int column, float& product) {
        const int i = first + row, j = tile + column;
        const float decay = shared.read[i][j];
        shared.solve[i][j] = j < i ? -shared.beta[i] * decay * product : 0.0f;
      });
      qk.each([&](int row, int column, float& product) {
        shared.read[first + row][tile + column] *= product;
      });
    });
  }

  // A thread takes a column of a block on the diagonal.
  DELTAPORT_INLINE void invert_diagonal() {
    team.each([&](int thread) {
      if (thread >= kChunk) return;
      const int first = thread / kTileTokens * kTileTokens, column = thread % kTileTokens;
      float x[kTileTokens];
      DELTAPORT_UNROLL
      for (int i = 0; i < kTileTokens; ++i) {
        x[i] = i == column ? 1.0f : 0.0f;
        DELTAPORT_UNROLL
        for (int j = 0; j < i; ++j) x[i] = fmaf(shared.solve[first + i][first + j], x[j], x[i]);
        shared.inverse[first + i][column] = x[i];
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
    for (int t = 0; t < kTokenTiles; ++t) {
      u[t].each([&](int, int j, float& x) { x *= shared.tail[t * kTileTokens + j]; });
      factors[t] = left_factor(u[t]);
    }
    update_state(warp, shared.gamma[n - 1], factors);
  }

  DELTAPORT_INLINE void give(int64_t first, int n) {
    const auto& o = shared.v;
    team.each([&](int thread) {
      const int token = thread / kTokenThreads, part = thread % kTokenThreads;
      float sum = 0;
      for (int c = part; c < args.value_dim; c += kTokenThreads) {
        sum = fmaf(o[token][c], o[token][c], sum);
      }
      shared.squares[0][token][part] = sum;
    });
    team.each([&](int thread) {
      const int token = thread / kTokenThreads;
      if (token >= n) return;
      const int64_t t = first + token;
      const float squares = sum_of_squares(0, token);
      for (int c = thread % kTokenThreads; c < args.value_dim; c += kTokenThreads) {
        narrow(head.output(o[token][c], squares, t, c), args.o + head.output_at(t) + c);
      }
    });
  }

  DELTAPORT_INLINE void run() {
    const int64_t length = head.length();
    each_of_state([&](int64_t at, float& own) { own = args.state[at]; });
    for (int64_t t = 0; t < length; t += kChunk) {
      const int n = static_cast<int>(length - t < kChunk ? length - t : kChunk);
      load_tokens(t, n);
      multiply_keys();
      invert_diagonal();
      team.each_warp([&](int warp) {
        if (has_columns(warp)) run_columns(warp, n);
      });
      give(t, n);
    }
    team.each([&](int thread) {
      for (int64_t at = thread; at < (args.tokens - length) * args.value_dim; at += Team::threads) {
        const int64_t t = length + at / args.value_dim;
        narrow(0.0f, args.o + head.output_at(t) + at % args.value_dim);
      }
    });
    each_of_state([&](int64_t at, float& own) { args.new_state[at] = own; });
  }
};

}  // namespace deltaport::DELTAPORT_ISA
