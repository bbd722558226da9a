// The search for the scale, and the offset, that a block loses least by.
//
// Written without vectors, for the compiler to make them: each sum has sixteen parts whatever the
// instruction set, and nothing is contracted, so that all machines choose the same bytes.
#pragma once

#include "kernels/quantize/quantize.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int kParts = 16;

// value = scale * code + offset, for whole codes from `lowest` to `highest`.
struct Scaling {
  float scale = 0, offset = 0;
};

struct CodeRange {
  float lowest, highest;
};
inline CodeRange code_range(int bits) {
  // 8 bits leave out -128, for which some machines' products have no room.
  return bits == 4 ? CodeRange{-8, 7} : CodeRange{-127, 127};
}

// The nearest that bfloat16 has, ties to even; the largest that it has for what is beyond.
inline uint16_t bfloat16_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  return static_cast<uint16_t>((rounded & 0x7F80) == 0x7F80 ? (rounded & 0x8000) | 0x7F7F : rounded);
}
inline float as_stored(float x) { return as_float(BFloat16{bfloat16_bits(x)}); }

// The code of x for 1 / scale: to the nearest, ties to even.
inline float code_of(float x, float offset, float inverse, CodeRange range) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23 leaves no bit for a fraction
  float code = (x - offset) * inverse;
  code = code < range.lowest ? range.lowest : code;
  code = code > range.highest ? range.highest : code;
  return (code + kMagic) - kMagic;
}

inline float sum_of(const float (&parts)[kParts]) {
  float sum = 0;
  for (const float part : parts) sum += part;
  return sum;
}

// What a block is coded with so far. `size` is a multiple of kParts.
struct BlockSearch {
  const float* values;
  int64_t size;
  CodeRange range;
  bool offsets;
  Scaling best = {};
  float least = 0;  // the squares of what is lost

  // Tries a scaling, as it would be stored, and keeps it if it is better.
  void attempt(float scale, float offset) {
    const Scaling stored{as_stored(scale), offsets ? as_stored(offset) : 0.0f};
    const float inverse = stored.scale == 0 ? 0.0f : 1.0f / stored.scale;
    if (!(inverse * inverse < 1e38f)) return;
    float lost[kParts] = {};
    for (int64_t k = 0; k < size; k += kParts) {
      for (int i = 0; i < kParts; ++i) {
        const float x = values[k + i];
        const float code = code_of(x, stored.offset, inverse, range);
        const float error = (x - stored.offset) - code * stored.scale;
        lost[i] += error * error;
      }
    }
    const float all = sum_of(lost);
    if (all >= least) return;
    least = all;
    best = stored;
  }

  // The scaling that is best for the codes that the best so far gives.
  void refine() {
    if (best.scale == 0) return;
    const float inverse = 1.0f / best.scale;
    float c[kParts] = {}, cc[kParts] = {}, x[kParts] = {}, cx[kParts] = {};
    for (int64_t k = 0; k < size; k += kParts) {
      for (int i = 0; i < kParts; ++i) {
        const float value = values[k + i];
        const float code = code_of(value, best.offset, inverse, range);
        c[i] += code;
        cc[i] += code * code;
        x[i] += value;
        cx[i] += code * value;
      }
    }
    const float codes = sum_of(c), squares = sum_of(cc), products = sum_of(cx);
    if (!offsets) {
      if (squares > 0) attempt(products / squares, 0);
      return;
    }
    const float n = static_cast<float>(size), total = sum_of(x);
    const float spread = n * squares - codes * codes;
    if (!(spread > 0)) return;
    const float scale = (n * products - codes * total) / spread;
    attempt(scale, (total - scale * codes) / n);
  }
};

inline Scaling search_scaling(const float* values, int64_t size, int bits, bool offsets) {
  float low = values[0], high = values[0];
  for (int64_t k = 1; k < size; ++k) {
    low = values[k] < low ? values[k] : low;
    high = values[k] > high ? values[k] : high;
  }
  BlockSearch search{values, size, code_range(bits), offsets};
  float squares[kParts] = {};
  for (int64_t k = 0; k < size; k += kParts) {
    for (int i = 0; i < kParts; ++i) squares[i] += values[k + i] * values[k + i];
  }
  search.least = sum_of(squares);  // of all codes at zero
  if (search.least == 0) return {};
  const CodeRange range = search.range;
  constexpr int kSteps = 12;
  if (offsets) {
    const float middle = low / 2 + high / 2, half = high / 2 - low / 2;
    const float middle_code = (range.lowest + range.highest) / 2;
    const float last = bits == 4 ? 0.70f : 0.98f;  // of the whole range
    search.attempt(0, middle);
    for (int i = 0; i <= kSteps; ++i) {
      const float share = 1.0f + (last - 1.0f) * static_cast<float>(i) / kSteps;
      const float scale = half * share / (range.highest - middle_code);
      search.attempt(scale, middle - middle_code * scale);
    }
  } else {
    // The value that is largest in magnitude has the largest code, or somewhat more than that.
    const float most = high > -low ? high : low;
    const float first = bits == 4 ? 6.6f : 125.5f, last = bits == 4 ? 9.0f : 128.5f;
    for (int i = 0; i <= kSteps; ++i) {
      search.attempt(most / -(first + (last - first) * static_cast<float>(i) / kSteps), 0);
    }
  }
  search.refine();
  search.refine();
  return search.best;
}

}  // namespace deltaport::DELTAPORT_ISA
