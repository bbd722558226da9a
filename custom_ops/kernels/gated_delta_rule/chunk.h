// Many tokens, in chunks: within a chunk the rule is a triangular system, and all that touches the
// state is a product of matrices. The state is rounded once a chunk, not once a token, so it also
// drifts less. With D[i,j] the decay from token j to token i, gamma[i] that from the chunk's start
// to token i and S the state before the chunk:
//
//     u[i] = beta[i] (v[i] - gamma[i] k[i]^T S) - sum_{j<i} beta[i] D[i,j] (k[i].k[j]) u[j]
//     o[i] = gamma[i] q[i]^T S + sum_{j<=i} D[i,j] (q[i].k[j]) u[j]
//     S    = gamma[last] S + sum_j k[j] (D[last,j] u[j])^T
//
// The system is solved by substitution: no inverse is formed that keys much alike would spoil.
// Log decays are summed between two tokens, never differences of running sums, which cancel.
// Columns of the state are independent; a block of them stays in the first-level cache.
#pragma once

#include <initializer_list>

#include "kernels/gated_delta_rule/token.h"
#include "kernels/matmul/outer_tile.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int64_t kChunk = 32;                    // tokens of a chunk
constexpr int kTile = Vec::registers == 32 ? 8 : 4;  // tokens of a tile: divides a chunk
using Tile = OuterTile<kTile>;
constexpr int64_t kColumns = Tile::columns;       // of a block of the state

// What a chunk of one key head needs besides the state. All rows are padded with zeros.
struct ChunkScratch {
  int64_t key_dim;
  float* k;         // [kChunk, padded key_dim]
  float* k_turned;  // [key_dim, kChunk]
  float* q_turned;  // [key_dim, kChunk]
  float* kk;        // [kChunk, kChunk]   k[j].k[i]
  float* kq;        // [kChunk, kChunk]   k[j].q[i]
  float* solve;     // [kChunk, kChunk]   -beta[i] D[i,j] (k[i].k[j]) at [j,i], 0 unless j < i
  float* read;      // [kChunk, kChunk]   D[i,j] (q[i].k[j]) at [j,i], 0 unless j <= i
  float* by_key;    // [kChunk, kColumns] k^T S
  float* u;         // [kChunk, kColumns]
  float* out;       // [kChunk, kColumns]
  float* log_decay; // [kChunk]
  float* beta;      // [kChunk]
  float* gamma;     // [kChunk]
  float* tail;      // [kChunk]           D[last,j]
  float* states;    // [group, column blocks, padded key_dim, kColumns]

  int64_t padded_key_dim() const { return round_up(key_dim, 16); }

  static int64_t state_size(const GatedDeltaRuleArgs& args) {
    return round_up(args.key_dim, 16) * round_up(args.value_dim, kColumns);
  }
  static int64_t size(const GatedDeltaRuleArgs& args) {
    return 3 * kChunk * round_up(args.key_dim, 16) + 4 * kChunk * kChunk + 3 * kChunk * kColumns +
           4 * kChunk + args.group() * state_size(args);
  }
  ChunkScratch(const GatedDeltaRuleArgs& args, float* memory) : key_dim(args.key_dim) {
    const auto take = [&](int64_t floats) {
      float* taken = memory;
      memory += floats;
      return taken;
    };
    k = take(kChunk * padded_key_dim());
    k_turned = take(kChunk * padded_key_dim());
    q_turned = take(kChunk * padded_key_dim());
    for (float** square : {&kk, &kq, &solve, &read}) *square = take(kChunk * kChunk);
    for (float** block : {&by_key, &u, &out}) *block = take(kChunk * kColumns);
    for (float** line : {&log_decay, &beta, &gamma, &tail}) *line = take(kChunk);
    states = take(args.group() * state_size(args));
  }
};

// Unit keys and queries of n tokens, and all their products.
inline void load_keys(const GatedDeltaRuleArgs& args, int64_t row, int64_t t, int64_t n,
                      int64_t key_head, const ChunkScratch& s) {
  const int64_t stride = s.padded_key_dim();
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(s.key_dim));
  zero_floats(s.k, kChunk * stride);
  zero_floats(s.k_turned, kChunk * stride);
  zero_floats(s.q_turned, kChunk * stride);
  for (int64_t i = 0; i < n; ++i) {
    const TokenAt token = token_at(args, row, t + i, key_head);
    const float q_scale = inverse_l2_norm(token.q, s.key_dim, args.norm_eps, scale);
    const float k_scale = inverse_l2_norm(token.k, s.key_dim, args.norm_eps, 1.0f);
    for (int64_t c = 0; c < s.key_dim; ++c) {
      const float k = token.k[c] * k_scale;
      s.k[i * stride + c] = k;
      s.k_turned[c * kChunk + i] = k;
      s.q_turned[c * kChunk + i] = token.q[c] * q_scale;
    }
  }
  for (int64_t j = 0; j < n; j += kTile) {
    // Only what is not below the diagonal is ever used.
    for (int64_t i = j / kColumns * kColumns; i < n; i += kColumns) {
      Tile kk{}, kq{};
      kk.multiply_add(s.k_turned + j, kChunk, s.k_turned + i, kChunk, s.key_dim);
      kk.store_to(s.kk + j * kChunk + i, kChunk);
      kq.multiply_add(s.k_turned + j, kChunk, s.q_turned + i, kChunk, s.key_dim);
      kq.store_to(s.kq + j * kChunk + i, kChunk);
    }
  }
}

// The decays between the n tokens, and what they make of the products of keys and queries. Each is
// the exponential of its own sum of log decays: a product of decays would round once a token.
inline void load_decays(int64_t n, const ChunkScratch& s) {
  constexpr float kNever = -__builtin_inff();
  float since_start = 0.0f;
  for (int64_t i = 0; i < kChunk; ++i) {
    if (i < n) since_start += s.log_decay[i];
    s.gamma[i] = i < n ? since_start : kNever;
    if (i >= n) s.beta[i] = 0.0f;
  }
  for (int64_t i = 0; i < kChunk; i += Vec::width) store(s.gamma + i, exp(load(s.gamma + i)));
  float between[kChunk];  // log decay from token j to every token i
  for (int64_t i = 0; i < kChunk; ++i) between[i] = kNever;
  for (int64_t j = n - 1; j >= 0; --j) {
    const Vec next = Vec::all(j + 1 < n ? s.log_decay[j + 1] : 0.0f);
    for (int64_t i = 0; i < kChunk; i += Vec::width) store(between + i, next + load(between + i));
    between[j] = 0.0f;
    s.tail[j] = between[n - 1];
    for (int64_t i = 0; i < kChunk; i += Vec::width) {
      const int64_t at = j * kChunk + i;
      if (i + Vec::width <= j) {  // all of it is before j
        store(s.read + at, Vec::zero());
        store(s.solve + at, Vec::zero());
        continue;
      }
      const Vec d = exp(load(between + i));
      store(s.read + at, d * load(s.kq + at));
      store(s.solve + at, Vec::zero() - load(s.beta + i) * d * load(s.kk + at));
    }
    s.solve[j * kChunk + j] = 0.0f;
  }
  for (int64_t j = n; j < kChunk; ++j) s.tail[j] = kNever;
  for (int64_t i = 0; i < kChunk; i += Vec::width) store(s.tail + i, exp(load(s.tail + i)));
}

// u for tokens [i, i + kTile), given that of those before.
inline void solve_tile(int64_t i, const ChunkScratch& s) {
  Tile tile;
  tile.load_scaled(s.u + i * kColumns, kColumns, [&](int r) { return s.beta[i + r]; });
  Tile past;
  past.load_scaled(s.by_key + i * kColumns, kColumns,
                   [&](int r) { return s.beta[i + r] * s.gamma[i + r]; });
#pragma GCC unroll 8
  for (int r = 0; r < kTile; ++r) {
    tile.sum[r][0] = tile.sum[r][0] - past.sum[r][0];
    tile.sum[r][1] = tile.sum[r][1] - past.sum[r][1];
  }
  tile.multiply_add(s.solve + i, kChunk, s.u, kColumns, i);
#pragma GCC unroll 8
  for (int j = 0; j < kTile; ++j) {
#pragma GCC unroll 8
    for (int r = j + 1; r < kTile; ++r) {
      const Vec factor = Vec::all(s.solve[(i + j) * kChunk + i + r]);
      tile.sum[r][0] = fmadd(factor, tile.sum[j][0], tile.sum[r][0]);
      tile.sum[r][1] = fmadd(factor, tile.sum[j][1], tile.sum[r][1]);
    }
  }
  tile.store_to(s.u + i * kColumns, kColumns);
}

// One block of columns through n tokens; v comes in as s.u, the read-out leaves in s.out.
inline void run_block(int64_t n, const ChunkScratch& s, float* state) {
  for (int64_t i = 0; i < n; i += kTile) {
    Tile tile{};
    tile.multiply_add(s.k_turned + i, kChunk, state, kColumns, s.key_dim);
    tile.store_to(s.by_key + i * kColumns, kColumns);
    solve_tile(i, s);
  }
  for (int64_t i = 0; i < n; i += kTile) {
    Tile tile{};
    tile.multiply_add(s.q_turned + i, kChunk, state, kColumns, s.key_dim);
#pragma GCC unroll 8
    for (int r = 0; r < kTile; ++r) {
      const Vec gamma = Vec::all(s.gamma[i + r]);
      tile.sum[r][0] *= gamma;
      tile.sum[r][1] *= gamma;
    }
    tile.multiply_add(s.read + i, kChunk, s.u, kColumns, min_of(n, i + kTile));
    tile.store_to(s.out + i * kColumns, kColumns);
  }
  for (int64_t j = 0; j < n; ++j) {
    const Vec tail = Vec::all(s.tail[j]);
    for (int64_t c = 0; c < kColumns; c += Vec::width) {
      store(s.u + j * kColumns + c, tail * load(s.u + j * kColumns + c));
    }
  }
  const Vec whole = Vec::all(s.gamma[n - 1]);
  for (int64_t i = 0; i < s.padded_key_dim(); i += kTile) {
    // The chunk's part is summed up first: added one by one, small parts would round away.
    Tile tile{};
    tile.multiply_add(s.k + i, s.padded_key_dim(), s.u, kColumns, n);
#pragma GCC unroll 8
    for (int r = 0; r < kTile; ++r) {
      float* at = state + (i + r) * kColumns;
      store(at, fmadd(whole, load(at), tile.sum[r][0]));
      store(at + Vec::width, fmadd(whole, load(at + Vec::width), tile.sum[r][1]));
    }
  }
}

}  // namespace deltaport::DELTAPORT_ISA
