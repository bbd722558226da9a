// With VNNI four products of bytes are summed at once; without, as with AVX2.
#pragma once

#include <immintrin.h>

namespace deltaport::DELTAPORT_ISA {

struct IntVec {
  __m512i v;
};

constexpr int kDotTokens = 8;
template <int bits, int tokens>
constexpr int kStrips = 1;

inline Vec to_floats(IntVec a) { return {_mm512_cvtepi32_ps(a.v)}; }

inline __m512i four_inputs(const int8_t* x) {
  int32_t four;
  memcpy(&four, x, sizeof four);
  return _mm512_set1_epi32(four);
}

inline __m512i codes_at(const uint8_t* codes) {
  return _mm512_loadu_si512(codes);
}

#if defined(DELTAPORT_SIMD_VNNI)

template <int bits>
constexpr int kZeroLeft = bits == 4 ? 8 : 128;

template <int bits, int tokens>
__attribute__((always_inline)) inline void dot_group(const uint8_t* codes, const int8_t* x,
                                                     IntVec (&dots)[tokens][1]) {
  const __m512i low = _mm512_set1_epi8(15);
  for (int m = 0; m < tokens; ++m) dots[m][0].v = _mm512_setzero_si512();
  for (int c = 0; c < bits; ++c) {
    const __m512i stored = codes_at(codes + 64 * c);
    if constexpr (bits == 8) {
      for (int m = 0; m < tokens; ++m) {
        dots[m][0].v = _mm512_dpbusd_epi32(dots[m][0].v, stored, four_inputs(x + 32 * m + 4 * c));
      }
    } else {
      const __m512i even = _mm512_and_si512(stored, low);
      const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(stored, 4), low);
      for (int m = 0; m < tokens; ++m) {
        const int8_t* p = x + 32 * m + 8 * c;
        dots[m][0].v = _mm512_dpbusd_epi32(dots[m][0].v, even, four_inputs(p));
        dots[m][0].v = _mm512_dpbusd_epi32(dots[m][0].v, odd, four_inputs(p + 4));
      }
    }
  }
}

#else

template <int bits>
constexpr int kZeroLeft = bits == 4 ? 8 : 0;

// Lets the compiler not move sums apart: it would make a tree of them, for which registers are too few.
inline void in_order([[maybe_unused]] __m512i& sum) {
#if defined(__AVX512F__)  // not where it is emulated
  asm("" : "+v"(sum));
#endif
}

// A code of 4 bits times an activation is at most 15 * 127, and 16 of these fit an int16.
template <int bits, int tokens>
  requires(bits == 4)
__attribute__((always_inline)) inline void dot_group(const uint8_t* codes, const int8_t* x,
                                                     IntVec (&dots)[tokens][1]) {
  const __m512i low = _mm512_set1_epi8(15);
  __m512i halves[tokens];
  for (int c = 0; c < 4; ++c) {
    const __m512i both = codes_at(codes + 64 * c);
    const __m512i even = _mm512_and_si512(both, low);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
    for (int m = 0; m < tokens; ++m) {
      const int8_t* p = x + 32 * m + 8 * c;
      const __m512i first = _mm512_maddubs_epi16(even, four_inputs(p));
      const __m512i second = _mm512_maddubs_epi16(odd, four_inputs(p + 4));
      halves[m] = c == 0 ? first : _mm512_add_epi16(halves[m], first);
      halves[m] = _mm512_add_epi16(halves[m], second);
      in_order(halves[m]);
    }
  }
  for (int m = 0; m < tokens; ++m) {
    dots[m][0].v = _mm512_madd_epi16(halves[m], _mm512_set1_epi16(1));
  }
}

// A code of 8 bits goes as its magnitude, at most 127, and its sign is given to the activation.
template <int bits, int tokens>
  requires(bits == 8)
__attribute__((always_inline)) inline void dot_group(const uint8_t* codes, const int8_t* x,
                                                     IntVec (&dots)[tokens][1]) {
  const __m512i zero_point = _mm512_set1_epi8(-128), ones = _mm512_set1_epi16(1);
  for (int c = 0; c < 8; ++c) {
    const __m512i code = _mm512_xor_si512(codes_at(codes + 64 * c), zero_point);
    const __m512i magnitude = _mm512_abs_epi8(code);
    const __mmask64 negative = _mm512_movepi8_mask(code);
    for (int m = 0; m < tokens; ++m) {
      const __m512i four = four_inputs(x + 32 * m + 4 * c);
      const __m512i with_sign =
          _mm512_mask_sub_epi8(four, negative, _mm512_setzero_si512(), four);
      const __m512i sum = _mm512_madd_epi16(_mm512_maddubs_epi16(magnitude, with_sign), ones);
      dots[m][0].v = c == 0 ? sum : _mm512_add_epi32(dots[m][0].v, sum);
      in_order(dots[m][0].v);
    }
  }
}

#endif

inline float largest_magnitude(const float* values) {
  const __m512i rest = _mm512_set1_epi32(0x7FFFFFFF);
  // As integers, magnitudes are in order, NaN above all.
  const auto magnitudes = [&](const float* p) {
    return _mm512_and_si512(_mm512_castps_si512(_mm512_loadu_ps(p)), rest);
  };
  const int most = _mm512_reduce_max_epi32(
      _mm512_max_epi32(magnitudes(values), magnitudes(values + 16)));
  float value;
  memcpy(&value, &most, sizeof value);
  return value;
}

inline int32_t round_to_int8(const float* values, float factor, int8_t* out) {
  __m512i sum = _mm512_setzero_si512();
  for (int i = 0; i < 32; i += 16) {
    const __m512i whole = _mm512_cvtps_epi32(
        _mm512_mul_ps(_mm512_loadu_ps(values + i), _mm512_set1_ps(factor)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm512_cvtepi32_epi8(whole));
    sum = _mm512_add_epi32(sum, whole);
  }
  return _mm512_reduce_add_epi32(sum);
}

}  // namespace deltaport::DELTAPORT_ISA
