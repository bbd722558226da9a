// What a chunk of tokens brings to the gated delta rule for GPUs besides the state: unit queries
// and keys, decays, and their products, in shared memory. The maths is that of chunk.h.
#pragma once

#include "kernels/gated_delta_rule/simt_head.h"
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
// columns that a warp reads at once are in different ones; of v it reads 8 columns of every other
// row. (What is added to the state reads k in v's way, two lanes a bank.)
struct DeltaChunkShared {
  alignas(16) float q[kChunk][kMostKeyDim + 8], k[kChunk][kMostKeyDim + 8];
  alignas(16) float v[kChunk][kMostValueDim + 4];  // then the read-out
  alignas(16) float solve[kChunk][kChunk + 8];     // -beta[i] D[i,j] (k[i].k[j]), read for j < i
  alignas(16) float read[kChunk][kChunk + 8];  // D[i,j], then D[i,j] (q[i].k[j]); 0 unless j <= i
  alignas(16) float inverse[kChunk][kTileTokens];  // of the blocks on the diagonal
  float squares[2][kChunk][kTokenThreads];         // parts of the sums of q^2 and k^2; of o^2
  float log_decay[kChunk], beta[kChunk], gamma[kChunk], tail[kChunk];

  DELTAPORT_INLINE float sum_of_squares(int which, int token) const {
    float sum = 0;
    for (int part = 0; part < kTokenThreads; ++part) sum += squares[which][token][part];
    return sum;
  }
};
static_assert(sizeof(DeltaChunkShared) <= 99 * 1024);  // what a block may have on any of the GPUs

template <class Element, class Team>
struct ChunkTokens {
  const Team& team;
  const DeltaRuleArgs<Element>& args;
  const DeltaRuleHead<Element>& head;
  DeltaChunkShared& shared;

  // Unit vectors q, scaled, and k of tokens [t, t + n), and v, then zeros; and their gates.
  DELTAPORT_INLINE void load(int64_t t, int n) {
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
      const float q_scale = is_token ? head.q_scale(shared.sum_of_squares(0, token)) : 0.0f;
      const float k_scale = is_token ? head.k_scale(shared.sum_of_squares(1, token)) : 0.0f;
      DELTAPORT_UNROLL
      for (int i = 0; i < kOwn; ++i) {
        const int c = i * kTokenThreads + part;
        shared.q[token][c] = own[thread][0][i] * q_scale;
        shared.k[token][c] = own[thread][1][i] * k_scale;
      }
      load_decays(thread, n);
    });
  }

  // The decay by tokens [first, last): the exponential of their own sum of log decays. A product of
  // decays would round once a token, a difference of running sums cancel. What rounding takes from
  // the sum is summed as well (Knuth's TwoSum): of a large sum it would be many units of the
  // exponential.
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
  DELTAPORT_INLINE void multiply() {
    team.each_warp([&](int warp) {
      const int first = warp / kTokenTiles * 16, tile = warp % kTokenTiles * kTileTokens;
      Tile<Team> kk = {}, qk = {};
      for (int c = 0; c < args.key_dim && tile < first + 16; c += kTileKeys) {
        const auto k = right_factor<Team>([&](int j, int i) { return shared.k[tile + i][c + j]; });
        add_product(kk, left_factor<Team>([&](int i, int j) { return shared.k[first + i][c + j]; }),
                    k);
        add_product(qk, left_factor<Team>([&](int i, int j) { return shared.q[first + i][c + j]; }),
                    k);
      }
      kk.each([&](int row, int column, float& product) {
        const int i = first + row, j = tile + column;
        shared.solve[i][j] = -shared.beta[i] * shared.read[i][j] * product;
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
};

}  // namespace deltaport::DELTAPORT_ISA
