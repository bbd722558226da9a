// The arithmetic of every product with weights: y[m,n] = sum over k of x[m,k] * w[n,k].
//
// Each y[m,n] has one vector of partial sums, one lane for every k of the same remainder, summed
// up in a fixed order at the end: lanes half a vector apart first, then a quarter, down to
// neighbours. panel_tile.h computes the same to the bit, so a token's y does not depend on how many
// others are beside it. (Of a NaN that holds for its being one, not for its sign and payload.)
#pragma once

#include "simd/vec.h"

namespace deltaport::DELTAPORT_ISA {

// Rows of weights for so many tokens: as many sums as there are registers for.
constexpr int rows_for_few(int tokens) {
  return Vec::registers == 32 ? (tokens == 1 ? 12 : tokens == 2 ? 10 : 6)
                              : (tokens == 1 ? 8 : 12 / tokens);
}

template <int N>
inline void sum_each(const Vec (&a)[N], float (&out)[N]) {
#pragma GCC unroll 8
  for (int i = 0; i + 4 <= N; i += 4) sum_each_of_4(a + i, out + i);
  for (int i = N / 4 * 4; i < N; ++i) out[i] = sum(a[i]);
}

// out[m * N + n] for M tokens and N rows of weights, read where they lie, w_stride apart.
template <int M, int N, class Element>
inline void dot_tile(int64_t width, const float* x, int64_t x_stride, const Element* w,
                     int64_t w_stride, float (&out)[M * N]) {
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
    for (int n = 0; n < N; ++n) add(part, n, load_as_float(w + n * w_stride + k));
  }
  if (k < width) {
    const int rest = static_cast<int>(width - k);
    Vec part[M];
    for (int m = 0; m < M; ++m) part[m] = load_partial(x + m * x_stride + k, rest);
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) add(part, n, load_as_float_n(w + n * w_stride + k, rest));
  }
  sum_each(total, out);
}

}  // namespace deltaport::DELTAPORT_ISA
