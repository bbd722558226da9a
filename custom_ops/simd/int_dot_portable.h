// As written, for whatever the compiler makes of it.
#pragma once

#include <cstring>

namespace deltaport::DELTAPORT_ISA {

struct IntVec {
  Ints v;
};

constexpr int kDotTokens = 4;
template <int bits, int tokens>
constexpr int kStrips = 1;
template <int bits>
constexpr int kZeroLeft = bits == 4 ? 8 : 128;

inline Vec to_floats(IntVec a) { return {__builtin_convertvector(a.v, Floats)}; }

template <int bits, int tokens>
inline void dot_group(const uint8_t* codes, const int8_t* x,
                      IntVec (&dots)[tokens][1]) {
  constexpr int kPerByte = 8 / bits, kMask = (1 << bits) - 1;
  for (int m = 0; m < tokens; ++m) dots[m][0].v = Ints{};
  for (int c = 0; c < bits; ++c) {
    for (int half = 0; half < kPerByte; ++half) {
      for (int row = 0; row < Vec::width; ++row) {
        for (int j = 0; j < 4; ++j) {
          const int stored = codes[64 * c + 4 * row + j];
          const int code = (stored >> (bits * half)) & kMask;
          for (int m = 0; m < tokens; ++m) {
            dots[m][0].v[row] += code * x[32 * m + 4 * (kPerByte * c + half) + j];
          }
        }
      }
    }
  }
}

inline float largest_magnitude(const float* values) {
  uint32_t most = 0;  // as integers, magnitudes are in order, NaN above all
  for (int i = 0; i < 32; ++i) {
    uint32_t bits;
    memcpy(&bits, values + i, sizeof bits);
    bits &= 0x7FFFFFFF;
    most = bits > most ? bits : most;
  }
  float value;
  memcpy(&value, &most, sizeof value);
  return value;
}

inline int32_t round_to_int8(const float* values, float factor, int8_t* out) {
  int32_t sum = 0;
  for (int i = 0; i < 32; i += Vec::width) {
    const Vec whole = round(load(values + i) * Vec::all(factor));
    for (int lane = 0; lane < Vec::width; ++lane) {
      out[i + lane] = static_cast<int8_t>(whole.v[lane]);
      sum += out[i + lane];
    }
  }
  return sum;
}

}  // namespace deltaport::DELTAPORT_ISA
