// The arithmetic of every product with weights: y[m,n] = sum over k of x[m,k] * w[n,k].
//
// Each y[m,n] has one vector of partial sums, one lane for every k of the same remainder, summed
// up in a fixed order at the end. So a token's y is the same to the bit whichever tile computes
// it, alone or with others beside it.
#pragma once

#include "simd/vec.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int kTileTokens = 4;
// Rows of weights for that many tokens: as many sums as there are registers for.
constexpr int kTileRows = Vec::registers == 32 ? 6 : 2;
constexpr int rows_for_few(int tokens) {
  return Vec::registers == 32 ? (tokens == 1 ? 12 : tokens == 2 ? 10 : 6)
                              : (tokens == 1 ? 8 : tokens == 2 ? 4 : 2);
}

template <int N>
inline void sum_each(const Vec (&a)[N], float (&out)[N]) {
#pragma GCC unroll 8
  for (int i = 0; i + 4 <= N; i += 4) sum_each_of_4(a + i, out + i);
  for (int i = N / 4 * 4; i < N; ++i) out[i] = sum(a[i]);
}

// out[m * N + n] for M tokens and N rows of weights, read where they lie.
template <int M, int N, class Element>
inline void dot_tile(int64_t width, const float* x, int64_t x_stride, const Element* w,
                     float (&out)[M * N]) {
  Vec total[M * N];
#pragma GCC unroll 64
  for (int i = 0; i < M * N; ++i) total[i] = Vec::zero();
  const auto add = [&](const Vec (&part)[M], int n, Vec weight) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) total[m * N + n] = fmadd(part[m], weight, total[m * N + n]);
  };
  int64_t k = 0;
  for (; k + Vec::width <= width; k += Vec::width) {
    Vec part[M];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) part[m] = load(x + m * x_stride + k);
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) add(part, n, load_as_float(w + n * width + k));
  }
  if (k < width) {
    const int rest = static_cast<int>(width - k);
    Vec part[M];
    for (int m = 0; m < M; ++m) part[m] = load_partial(x + m * x_stride + k, rest);
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) add(part, n, load_as_float_n(w + n * width + k, rest));
  }
  sum_each(total, out);
}

// The same from panels that pack_tokens and pack_rows made.
inline void packed_tile(int64_t vectors, const float* x, const float* w,
                        float (&out)[kTileTokens * kTileRows]) {
  constexpr int M = kTileTokens, N = kTileRows, W = Vec::width;
  Vec total[M * N];
#pragma GCC unroll 64
  for (int i = 0; i < M * N; ++i) total[i] = Vec::zero();
  for (int64_t k = 0; k < vectors; ++k, x += M * W, w += N * W) {
    Vec part[M];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) part[m] = load(x + m * W);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const Vec weight = load(w + n * W);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) total[m * N + n] = fmadd(part[m], weight, total[m * N + n]);
    }
  }
  sum_each(total, out);
}

// R rows of `width` elements side by side, vector by vector, widened and padded with zeros: [ceil(
// width / W), R, W]. Read where they lie, rows a power of two apart would fight for a few lines of
// the first-level cache. row(r) is where row r begins, null for one that is not there.
template <int R, class RowOf>
inline void pack_panel(int64_t width, RowOf row, float* panel) {
  for (int r = 0; r < R; ++r) {
    const auto* from = row(r);
    for_each_vector(width, [&](int64_t k, int n) {
      const Vec part = from == nullptr ? Vec::zero() : load_as_float_n(from + k, n);
      store(panel + k * R + r * Vec::width, part);
    });
  }
}

inline int64_t vectors_of(int64_t width) { return round_up(width, Vec::width) / Vec::width; }

}  // namespace deltaport::DELTAPORT_ISA
