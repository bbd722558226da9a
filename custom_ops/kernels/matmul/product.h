// Products of a few or many tokens with rows of weights.
#pragma once

#include "kernels/matmul/dot_tile.h"
#include "kernels/matmul/panel_tile.h"

namespace deltaport::DELTAPORT_ISA {

// Up to this many tokens weights are used where they lie; more are worth packing both.
constexpr int64_t kFewTokens = 32;

// Tokens whose sums find registers together.
constexpr int64_t kGroupTokens = 4;

template <int M, class Element, class Put>
inline void group_times_rows(int64_t width, const float* x, int64_t x_stride, const Element* w,
                             int64_t rows, Put put) {
  // Each row of a tile comes from a stretch of rows of its own, which it reads from end to end: the
  // processor then sees it coming. Neighbouring rows, which may share a page, it takes for one
  // stream that jumps back and forth, and memory comes half as fast.
  constexpr int N = rows_for_few(M);
  const int64_t stretch = rows / N;
  float out[M * N];
  for (int64_t n = 0; n < stretch; ++n) {
    dot_tile<M, N>(width, x, x_stride, w + n * width, stretch * width, out);
    for (int m = 0; m < M; ++m) {
      for (int i = 0; i < N; ++i) put(m, n + i * stretch, out[m * N + i]);
    }
  }
  float one[M];
  for (int64_t n = stretch * N; n < rows; ++n) {
    dot_tile<M, 1>(width, x, x_stride, w + n * width, width, one);
    for (int m = 0; m < M; ++m) put(m, n, one[m]);
  }
}

// put(m, n, y) for tokens [0, tokens), at most kFewTokens of them, and rows [0, rows) of w.
template <class Element, class Put>
inline void few_tokens_product(int64_t tokens, int64_t width, const float* x, int64_t x_stride,
                               const Element* w, int64_t rows, Put put) {
  // Rows that the second-level cache holds until the last group of tokens has used them.
  constexpr int64_t kBlock = 128 * 1024 / sizeof(Element);
  const int64_t most = tokens <= kGroupTokens ? rows : max_of(kBlock / max_of(width, 1), 12);
  for (int64_t n = 0; n < rows; n += most) {
    const int64_t count = min_of(most, rows - n);
    for (int64_t m = 0; m < tokens; m += kGroupTokens) {
      const auto group = [&]<int M>() {
        group_times_rows<M>(width, x + m * x_stride, x_stride, w + n * width, count,
                            [&](int64_t i, int64_t row, float y) { put(m + i, n + row, y); });
      };
      switch (min_of(kGroupTokens, tokens - m)) {
        case 1: group.template operator()<1>(); break;
        case 2: group.template operator()<2>(); break;
        case 3: group.template operator()<3>(); break;
        case 4: group.template operator()<4>(); break;
      }
    }
  }
}

// Floats of one tile of tokens, of panels for any number, and of a panel of rows.
inline int64_t token_tile_size(int64_t width) { return kTokenStride * vectors_of(width) * Vec::width; }
inline int64_t token_panel_size(int64_t tokens, int64_t width) {
  return round_up(tokens, kTileTokens) / kTileTokens * token_tile_size(width);
}
inline int64_t row_panel_size(int64_t width) { return kTileRows * vectors_of(width) * Vec::width; }

// Tile `tile` of the tokens; token(m) is where token m begins.
template <class TokenAt>
inline void pack_token_tile(int64_t tokens, int64_t width, TokenAt token, int64_t tile,
                            float* panel) {
  const int64_t first = tile * kTileTokens;
  const auto row = [&](int r) -> const float* {
    return r < kTileTokens && first + r < tokens ? token(first + r) : nullptr;
  };
  pack_panel<kTokenStride>(width, row, panel + tile * token_tile_size(width));
}
template <class TokenAt>
inline void pack_tokens(int64_t tokens, int64_t width, TokenAt token, float* panel) {
  for (int64_t tile = 0; tile * kTileTokens < tokens; ++tile) {
    pack_token_tile(tokens, width, token, tile, panel);
  }
}

// y[m * stride + n] for tokens in a panel, any number, and rows [0, rows) of w.
template <class Element>
inline void many_tokens_product(int64_t tokens, int64_t width, const float* token_panel,
                                const Element* w, int64_t rows, float* row_panel, float* y,
                                int64_t stride) {
  for (int64_t n = 0; n < rows; n += kTileRows) {
    const auto row = [&](int r) { return n + r < rows ? w + (n + r) * width : nullptr; };
    pack_panel<kTileRows>(width, row, row_panel);
    // The next rows come while these are multiplied: packing alone would wait for memory.
    const Element* next = w + (n + kTileRows) * width;
    const int64_t coming = min_of(kTileRows, max_of(rows - n - kTileRows, 0)) * width;
    const int64_t share = round_up(coming * kTileTokens / tokens + 1, 64);
    for (int64_t m = 0; m < tokens; m += kTileTokens) {
      const int64_t tile = m / kTileTokens, at = tile * share;
      if (at < coming) prefetch(next + at, min_of(share, coming - at));
      panel_tile_of<kTileTokens>(min_of(kTileTokens, tokens - m), vectors_of(width),
                                 token_panel + tile * token_tile_size(width), row_panel, rows - n,
                                 y + m * stride + n, stride);
    }
  }
}

}  // namespace deltaport::DELTAPORT_ISA
