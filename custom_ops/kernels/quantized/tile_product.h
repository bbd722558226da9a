// Products of rounded tokens with quantized rows.
#pragma once

#include "kernels/quantized/rounded_tokens.h"

namespace deltaport::DELTAPORT_ISA {

// A number that a template can be given by way of a function's argument.
template <auto value>
struct Constant {
  constexpr auto operator()() const { return value; }
};

// A block of tokens, `first` on, times the rows of some strips of a tile, whose codes and scales begin there.
// Blocks are added up one by one, so that a token's sums do not depend on the others. `single`: a
// block is one group.
template <int bits, bool single, bool offsets, int tokens>
inline void strips_product(const QuantizedWeights& w, const uint8_t* codes, const BFloat16* scales,
                           const RoundedTokens& x, int64_t first,
                           Vec (&y)[tokens][kStrips<tokens>]) {
  const int64_t at = first * x.groups;
  const int8_t* values = x.codes + at * kGroupInputs;
  const int32_t* sums = x.sums + at;
  const float *token_scales = x.scales + at, *totals = x.totals + at;
  const int64_t block_groups = single ? 1 : w.block_groups;
  const auto each = [](auto body) {
    for (int m = 0; m < tokens; ++m) {
      for (int s = 0; s < kStrips<tokens>; ++s) body(m, s);
    }
  };
  each([&](int m, int s) { y[m][s] = Vec::zero(); });
  for (int64_t begin = 0; begin < w.groups; begin += block_groups) {
    Vec inner[tokens][kStrips<tokens>];
    each([&](int m, int s) { inner[m][s] = Vec::zero(); });
    for (int64_t g = begin; g < begin + block_groups; ++g) {
      IntVec dots[tokens][kStrips<tokens>];
      dot_group<bits, tokens>(codes, values, sums, dots);
      each([&](int m, int s) {
        inner[m][s] = fmadd(to_floats(dots[m][s]), Vec::all(token_scales[m]), inner[m][s]);
      });
      codes += bits * 64;
      values += tokens * kGroupInputs;
      sums += tokens;
      token_scales += tokens;
    }
    each([&](int m, int s) {
      y[m][s] = fmadd(inner[m][s], load_bf16(scales + s * Vec::width), y[m][s]);
    });
    scales += kTileOutputs;
    if constexpr (offsets) {
      for (int64_t g = begin; g < begin + block_groups; ++g) {
        each([&](int m, int s) {
          y[m][s] = fmadd(Vec::all(totals[m]), load_bf16(scales + s * Vec::width), y[m][s]);
        });
        totals += tokens;
      }
      scales += kTileOutputs;
    }
  }
}

// give(m, n, y, lanes) takes tokens [first, first + tokens) times rows n to n + lanes of tile `tile`,
// of `outputs` rows in all.
template <int bits, bool single, bool offsets, int tokens, class Give>
inline void tile_product(const QuantizedWeights& w, int64_t tile, int64_t outputs,
                         const RoundedTokens& x, int64_t first, const Give& give) {
  const uint8_t* codes = w.codes + tile * w.tile_bytes();
  const BFloat16* scales = w.scales + tile * w.tile_scales();
  constexpr int strips = kStrips<tokens>;
  for (int64_t row = 0; row < kTileOutputs; row += strips * Vec::width) {
    Vec y[tokens][strips];
    strips_product<bits, single, offsets>(w, codes + 4 * row, scales + row, x, first, y);
    for (int m = 0; m < tokens; ++m) {
      for (int s = 0; s < strips; ++s) {
        const int64_t n = tile * kTileOutputs + row + s * Vec::width;
        const int64_t lanes = min_of(Vec::width, outputs - n);
        if (lanes > 0) give(first + m, n, y[m][s], static_cast<int>(lanes));
      }
    }
  }
}

template <int bits, bool single, bool offsets, int tokens = 1, class Give>
inline void rest_product(const QuantizedWeights& w, int64_t tile, int64_t outputs,
                         const RoundedTokens& x, int64_t first, int64_t left, const Give& give) {
  if (left == tokens) {
    tile_product<bits, single, offsets, tokens>(w, tile, outputs, x, first, give);
  } else if constexpr (tokens + 1 < kDotTokens) {
    rest_product<bits, single, offsets, tokens + 1>(w, tile, outputs, x, first, left, give);
  }
}

template <int bits, bool single, bool offsets, class Give>
inline void tiles_product_as(const QuantizedWeights& w, int64_t begin, int64_t end, int64_t outputs,
                             const RoundedTokens& x, const Give& give) {
  constexpr int64_t kBlock = 64;  // tokens that stay near while the tiles go by
  for (int64_t block = 0; block < x.tokens; block += kBlock) {
    const int64_t until = min_of(block + kBlock, x.tokens);
    for (int64_t tile = begin; tile < end; ++tile) {
      int64_t m = block;
      for (; m + kDotTokens <= until; m += kDotTokens) {
        tile_product<bits, single, offsets, kDotTokens>(w, tile, outputs, x, m, give);
      }
      rest_product<bits, single, offsets>(w, tile, outputs, x, m, until - m, give);
    }
  }
}

// All tokens of x times tiles [begin, end).
template <class Give>
inline void tiles_product(const QuantizedWeights& w, int64_t begin, int64_t end, int64_t outputs,
                          const RoundedTokens& x, const Give& give) {
  const auto as = [&](auto bits, auto single) {
    if (w.has_offsets) return tiles_product_as<bits(), single(), true>(w, begin, end, outputs, x, give);
    return tiles_product_as<bits(), single(), false>(w, begin, end, outputs, x, give);
  };
  const auto of_bits = [&](auto bits) {
    if (w.block_groups == 1) return as(bits, Constant<true>());
    return as(bits, Constant<false>());
  };
  return w.bits == 4 ? of_bits(Constant<4>()) : of_bits(Constant<8>());
}

}  // namespace deltaport::DELTAPORT_ISA
