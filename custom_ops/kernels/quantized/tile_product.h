// Products of rounded tokens with quantized rows.
#pragma once

#include "kernels/quantized/rounded_tokens.h"

namespace deltaport::DELTAPORT_ISA {

// A number that a template can be given by way of a function's argument.
template <auto value>
struct Constant {
  constexpr auto operator()() const { return value; }
};

// sums[tokens][kTileOutputs] = a block of tokens, `token` on, times the rows of some strips of a tile,
// whose codes and scales begin there. Blocks of inputs are added up one by one, so that a token's sums
// do not depend on the others. `single`: a block is one group.
//
// Not inlined, and unrolled by order: else the compiler keeps sums in memory, and takes half as long
// again.
template <int bits, bool single, bool offsets, int tokens>
[[gnu::noinline]] void strips_product(const QuantizedWeights& w, const uint8_t* codes,
                                      const BFloat16* scales, const RoundedTokens& x, int64_t token,
                                      float* sums) {
  constexpr int strips = kStrips<bits, tokens>;
  constexpr int64_t kAhead = 4096;  // bytes: the processor's own prefetching ends with every page
  const int64_t at = token * x.groups;
  const int8_t* values = x.codes + at * kGroupInputs;
  const float* token_scales = x.scales + at;
  const int64_t block_groups = single ? 1 : w.block_groups;
  const float* eights = x.eights + at / block_groups;
  const auto each = [](auto body) __attribute__((always_inline)) {
#pragma GCC unroll 16
    for (int m = 0; m < tokens; ++m) {
#pragma GCC unroll 2
      for (int s = 0; s < strips; ++s) body(m, s);
    }
  };
  Vec y[tokens][strips];
  each([&](int m, int s) { y[m][s] = Vec::zero(); });
  for (int64_t begin = 0; begin < w.groups; begin += block_groups) {
    Vec inner[tokens][strips];
    each([&](int m, int s) {
      inner[m][s] = kZeroLeft<bits> == 0 ? Vec::zero() : Vec::all(eights[m]);
      if (kZeroLeft<bits> > 8) inner[m][s] = inner[m][s] * Vec::all(kZeroLeft<bits> / 8);
    });
    for (int64_t g = begin; g < begin + block_groups; ++g) {
      for (int line = 0; line < bits; ++line) __builtin_prefetch(codes + kAhead + 64 * line);
      IntVec dots[tokens][strips];
      dot_group<bits>(codes, values, dots);
      each([&](int m, int s) {
        inner[m][s] = fmadd(to_floats(dots[m][s]), Vec::all(token_scales[m]), inner[m][s]);
      });
      codes += bits * 64;
      values += tokens * kGroupInputs;
      token_scales += tokens;
    }
    Vec row_scales[strips];
    for (int s = 0; s < strips; ++s) row_scales[s] = load_bf16(scales + s * Vec::width);
    each([&](int m, int s) { y[m][s] = fmadd(inner[m][s], row_scales[s], y[m][s]); });
    scales += kTileOutputs;
    if constexpr (offsets) {
      for (int s = 0; s < strips; ++s) {
        row_scales[s] = load_bf16(scales + s * Vec::width) * Vec::all(-0.125f);
      }
      each([&](int m, int s) { y[m][s] = fmadd(Vec::all(eights[m]), row_scales[s], y[m][s]); });
      scales += kTileOutputs;
    }
    eights += tokens;
  }
  each([&](int m, int s) { store(sums + m * kTileOutputs + s * Vec::width, y[m][s]); });
}

// The same for `left` tokens, at most `tokens`, and all rows of tile `tile`.
template <int bits, bool single, bool offsets, int tokens = kDotTokens>
inline void tile_product(const QuantizedWeights& w, int64_t tile, const RoundedTokens& x,
                         int64_t token, int64_t left, float* sums) {
  if constexpr (tokens > 1) {
    if (left < tokens) {
      return tile_product<bits, single, offsets, tokens - 1>(w, tile, x, token, left, sums);
    }
  }
  constexpr int64_t kRows = kStrips<bits, tokens> * Vec::width;
  for (int64_t row = 0; row < kTileOutputs; row += kRows) {
    strips_product<bits, single, offsets, tokens>(w, w.codes + tile * w.tile_bytes() + 4 * row,
                                                  w.scales + tile * w.tile_scales() + row, x, token,
                                                  sums + row);
  }
}

// give(m, n, y, lanes) takes token m times rows n to n + lanes, of `outputs` rows in all.
template <int bits, bool single, bool offsets, class Give>
inline void tiles_product_as(const QuantizedWeights& w, int64_t begin, int64_t end, int64_t outputs,
                             const RoundedTokens& x, const Give& give) {
  constexpr int64_t kNear = 64 / kDotTokens * kDotTokens;  // tokens that stay near while tiles go by
  for (int64_t near = 0; near < x.tokens; near += kNear) {
    const int64_t until = min_of(near + kNear, x.tokens);
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t first = tile * kTileOutputs, rows = min_of(kTileOutputs, outputs - first);
      for (int64_t token = near; token < until; token += kDotTokens) {
        alignas(64) float sums[kDotTokens][kTileOutputs];
        const int64_t tokens = min_of(kDotTokens, until - token);
        tile_product<bits, single, offsets>(w, tile, x, token, tokens, sums[0]);
        for (int64_t m = 0; m < tokens; ++m) {
          for (int64_t row = 0; row < rows; row += Vec::width) {
            give(token + m, first + row, load(sums[m] + row),
                 static_cast<int>(min_of(Vec::width, rows - row)));
          }
        }
      }
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
