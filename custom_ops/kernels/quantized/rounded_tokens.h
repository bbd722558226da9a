// Activations rounded to int8, each group of 32 by a scale of its own.
#pragma once

#include "kernels/quantized/quantized_weights.h"
#include "simd/int_dot.h"

namespace deltaport::DELTAPORT_ISA {

// Some tokens of one width. A group whose largest magnitude is below kLeastMagnitude is all zero;
// one that holds an infinity or a NaN has a scale of NaN, and so its token gives NaN.
//
// kDotTokens tokens make a block, the last one fewer: [blocks][groups][tokens of the block]. So a
// product finds all it needs at fixed places from one address.
struct RoundedTokens {
  static constexpr float kLeastMagnitude = 1e-30f;

  int64_t tokens, groups;
  int8_t* codes;   // 32 for each of these
  float* scales;   // value = scale * code
  int32_t* sums;   // -8 times the sum of the codes
  float* totals;   // sum of the values

  // Floats of memory that they take.
  static int64_t size(int64_t tokens, int64_t groups) {
    return tokens * groups * (kGroupInputs / 4 + 3);
  }
  RoundedTokens(int64_t tokens, int64_t groups, float* memory)
      : tokens(tokens),
        groups(groups),
        codes(reinterpret_cast<int8_t*>(memory)),
        scales(memory + tokens * groups * (kGroupInputs / 4)),
        sums(reinterpret_cast<int32_t*>(scales + tokens * groups)),
        totals(scales + 2 * tokens * groups) {}

  // Takes token m from x[width], of at most as many inputs as the groups have.
  void round(int64_t m, const float* x, int64_t width) {
    const int64_t first = m / kDotTokens * kDotTokens;
    const int64_t block = min_of(kDotTokens, tokens - first);
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t left = width - g * kGroupInputs;
      float padded[kGroupInputs] = {};
      if (left < kGroupInputs) {
        for (int64_t i = 0; i < left; ++i) padded[i] = x[g * kGroupInputs + i];
      }
      const float* values = left < kGroupInputs ? padded : x + g * kGroupInputs;
      round_group(values, first * groups + g * block + m - first);
    }
  }

 private:
  void round_group(const float* values, int64_t at) {
    const float most = largest_magnitude(values);
    int8_t* out = codes + at * kGroupInputs;
    int32_t sum = 0;
    float scale = 0;
    if (most >= kLeastMagnitude && most <= 3.4028235e38f) {
      scale = most / 127.0f;
      sum = round_to_int8(values, 127.0f / most, out);
    } else {
      for (int64_t i = 0; i < kGroupInputs; ++i) out[i] = 0;
      if (!(most < kLeastMagnitude)) scale = __builtin_nanf("");
    }
    scales[at] = scale;
    sums[at] = -8 * sum;
    totals[at] = scale * static_cast<float>(sum);
  }
};

}  // namespace deltaport::DELTAPORT_ISA
