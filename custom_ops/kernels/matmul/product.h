// Products of a few or many tokens with rows of weights.
#pragma once

#include "kernels/matmul/dot_tile.h"

namespace deltaport::DELTAPORT_ISA {

// Up to this many tokens weights are read once, where they lie; more are worth packing both.
constexpr int64_t kFewTokens = kTileTokens;

template <int M, class Element, class Put>
inline void few_tokens_times_rows(int64_t width, const float* x, int64_t x_stride,
                                  const Element* w, int64_t rows, Put put) {
  constexpr int N = rows_for_few(M);
  int64_t n = 0;
  float out[M * N];
  for (; n + N <= rows; n += N) {
    dot_tile<M, N>(width, x, x_stride, w + n * width, out);
    for (int m = 0; m < M; ++m) {
      for (int i = 0; i < N; ++i) put(m, n + i, out[m * N + i]);
    }
  }
  float one[M];
  for (; n < rows; ++n) {
    dot_tile<M, 1>(width, x, x_stride, w + n * width, one);
    for (int m = 0; m < M; ++m) put(m, n, one[m]);
  }
}

// put(m, n, y) for tokens [0, tokens), at most kFewTokens, and rows [0, rows) of w.
template <class Element, class Put>
inline void few_tokens_product(int64_t tokens, int64_t width, const float* x, int64_t x_stride,
                               const Element* w, int64_t rows, Put put) {
  switch (tokens) {
    case 1: return few_tokens_times_rows<1>(width, x, x_stride, w, rows, put);
    case 2: return few_tokens_times_rows<2>(width, x, x_stride, w, rows, put);
    case 3: return few_tokens_times_rows<3>(width, x, x_stride, w, rows, put);
    case 4: return few_tokens_times_rows<4>(width, x, x_stride, w, rows, put);
  }
}

// Floats of a panel of tokens, and of one of rows.
inline int64_t token_panel_size(int64_t tokens, int64_t width) {
  return round_up(tokens, kTileTokens) * vectors_of(width) * Vec::width;
}
inline int64_t row_panel_size(int64_t width) { return kTileRows * vectors_of(width) * Vec::width; }

// token(m) is where token m begins.
template <class TokenAt>
inline void pack_tokens(int64_t tokens, int64_t width, TokenAt token, float* panel) {
  for (int64_t m = 0; m < tokens; m += kTileTokens) {
    const auto row = [&](int r) { return m + r < tokens ? token(m + r) : nullptr; };
    pack_panel<kTileTokens>(width, row, panel + m * vectors_of(width) * Vec::width);
  }
}

// put(m, n, y) for tokens in a panel, any number, and rows [0, rows) of w.
template <class Element, class Put>
inline void many_tokens_product(int64_t tokens, int64_t width, const float* token_panel,
                                const Element* w, int64_t rows, float* row_panel, Put put) {
  const int64_t vectors = vectors_of(width);
  float out[kTileTokens * kTileRows];
  for (int64_t n = 0; n < rows; n += kTileRows) {
    const auto row = [&](int r) { return n + r < rows ? w + (n + r) * width : nullptr; };
    pack_panel<kTileRows>(width, row, row_panel);
    const int here = static_cast<int>(min_of(kTileRows, rows - n));
    // The next rows come while these are multiplied: packing alone would wait for memory.
    const Element* next = w + (n + kTileRows) * width;
    const int64_t coming = min_of(kTileRows, max_of(rows - n - kTileRows, 0)) * width;
    const int64_t share = round_up(coming * kTileTokens / tokens + 1, 64);
    for (int64_t m = 0; m < tokens; m += kTileTokens) {
      const int64_t at = m / kTileTokens * share;
      prefetch(next + at, max_of(min_of(share, coming - at), 0));
      packed_tile(vectors, token_panel + m * vectors * Vec::width, row_panel, out);
      const int these = static_cast<int>(min_of(kTileTokens, tokens - m));
      for (int r = 0; r < these; ++r) {
        for (int i = 0; i < here; ++i) put(m + r, n + i, out[r * kTileRows + i]);
      }
    }
  }
}

}  // namespace deltaport::DELTAPORT_ISA
