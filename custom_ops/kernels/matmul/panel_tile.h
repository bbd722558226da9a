// The arithmetic of dot_tile.h for many tokens, from panels packed for it.
//
// A tile keeps its sums in registers with a lane for every row of weights, so each activation is
// one broadcast. To round as dot_tile.h does, it walks k by remainder: all k = l (mod W) make one
// partial sum, and partial sums are added pairwise, l and l + W/2 first. Visiting l in bit-reversed
// order, that is a binary counter: few of them wait at any time.
#pragma once

#include "simd/vec.h"

namespace deltaport::DELTAPORT_ISA {

// Tokens and rows of a tile: sums fill the registers but for two vectors of weights, an activation
// and, where products are rounded by themselves, one more.
constexpr int kTileTokens = Vec::registers == 32 ? 12 : 6;
constexpr int kTileRows = 2 * Vec::width;
constexpr int kTokenStride = (kTileTokens + Vec::width - 1) / Vec::width * Vec::width;

constexpr int kLaneBits = Vec::width == 16 ? 4 : Vec::width == 8 ? 3 : 2;
static_assert(1 << kLaneBits == Vec::width);

// When lane l is visited, and which lane is visited then.
constexpr int bit_reversed(int l) {
  int reversed = 0;
  for (int b = 0; b < kLaneBits; ++b) reversed |= (l >> b & 1) << (kLaneBits - 1 - b);
  return reversed;
}

inline int64_t vectors_of(int64_t width) { return round_up(width, Vec::width) / Vec::width; }

// A panel has for every visit, and every vector of k, the elements of up to `stride` rows side by
// side: [W, ceil(width / W), stride], padded with zeros. row(r) is where row r begins, null for one
// that is not there.
template <int stride, class RowAt>
inline void pack_panel(int64_t width, RowAt row, float* panel) {
  constexpr int W = Vec::width;
  const int64_t visit = vectors_of(width) * stride;
  for (int g = 0; g < stride; g += W) {
    decltype(row(0)) from[W];
    for (int i = 0; i < W; ++i) from[i] = row(g + i);
    float* to = panel + g;
    for_each_vector(width, [&](int64_t k, int n) {
      Vec block[W];
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) {
        block[i] = from[i] == nullptr ? Vec::zero() : load_as_float_n(from[i] + k, n);
      }
      transpose(block);
#pragma GCC unroll 16
      for (int l = 0; l < W; ++l) store(to + bit_reversed(l) * visit, block[l]);
      to += stride;
    });
  }
}

// y[m * stride + n] for M tokens and the first `rows` of a panel's rows.
template <int M>
inline void panel_tile(int64_t vectors, const float* tokens, const float* weights, int64_t rows,
                       float* y, int64_t stride) {
  constexpr int W = Vec::width;
  Vec waiting[kLaneBits + 1][M][2];
  for (int visit = 0; visit < W; ++visit) {
    Vec total[M][2];
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) total[m][0] = total[m][1] = Vec::zero();
    for (int64_t k = 0; k < vectors; ++k, tokens += kTokenStride, weights += kTileRows) {
      const Vec first = load(weights), second = load(weights + W);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) {
        const Vec x = Vec::all(tokens[m]);
        total[m][0] = fmadd(x, first, total[m][0]);
        total[m][1] = fmadd(x, second, total[m][1]);
      }
    }
    int level = 0;
    for (; visit >> level & 1; ++level) {
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) {
        total[m][0] = waiting[level][m][0] + total[m][0];
        total[m][1] = waiting[level][m][1] + total[m][1];
      }
    }
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      waiting[level][m][0] = total[m][0];
      waiting[level][m][1] = total[m][1];
    }
  }
  for (int m = 0; m < M; ++m) {
    for_each_vector(min_of(rows, kTileRows), [&](int64_t n, int count) {
      store_n(y + m * stride + n, waiting[kLaneBits][m][n / W], count);
    });
  }
}

// The same for `tokens` of them, at most M.
template <int M>
inline void panel_tile_of(int64_t tokens, int64_t vectors, const float* token_panel,
                          const float* row_panel, int64_t rows, float* y, int64_t stride) {
  if (tokens == M) return panel_tile<M>(vectors, token_panel, row_panel, rows, y, stride);
  if constexpr (M > 1) {
    panel_tile_of<M - 1>(tokens, vectors, token_panel, row_panel, rows, y, stride);
  }
}

}  // namespace deltaport::DELTAPORT_ISA
