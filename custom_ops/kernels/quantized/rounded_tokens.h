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

  int64_t tokens, groups, block_groups;
  int8_t* codes;  // 32 for each group
  float* scales;  // of each group: value = scale * code
  float* eights;  // of each block of inputs, in place of groups: -8 times the sum of its values

  // Floats of memory that they take.
  static int64_t size(int64_t tokens, int64_t groups) {
    return tokens * groups * (kGroupInputs / 4 + 2);
  }
  // For weights of these groups and blocks.
  RoundedTokens(int64_t tokens, const QuantizedWeights& w, float* memory)
      : tokens(tokens),
        groups(w.groups),
        block_groups(w.block_groups),
        codes(reinterpret_cast<int8_t*>(memory)),
        scales(memory + tokens * groups * (kGroupInputs / 4)),
        eights(scales + tokens * groups) {}

  // Takes token m from x[width], of at most as many inputs as the groups have.
  void round(int64_t m, const float* x, int64_t width) {
    const int64_t first = m / kDotTokens * kDotTokens;
    const int64_t block = min_of(kDotTokens, tokens - first);
    float sum = 0;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t left = width - g * kGroupInputs;
      float padded[kGroupInputs] = {};
      if (left < kGroupInputs) {
        for (int64_t i = 0; i < left; ++i) padded[i] = x[g * kGroupInputs + i];
      }
      const float* values = left < kGroupInputs ? padded : x + g * kGroupInputs;
      sum += round_group(values, first * groups + g * block + m - first);
      if ((g + 1) % block_groups == 0) {
        const int64_t before = g / block_groups;
        eights[first * (groups / block_groups) + before * block + m - first] = -8 * sum;
        sum = 0;
      }
    }
  }

 private:
  // Returns the sum of the rounded values.
  float round_group(const float* values, int64_t at) {
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
    return scale * static_cast<float>(sum);
  }
};

}  // namespace deltaport::DELTAPORT_ISA
