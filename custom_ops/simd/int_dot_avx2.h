// Without VNNI: products of bytes are summed as int16 as long as these hold them.
#pragma once

#include <immintrin.h>

namespace deltaport::DELTAPORT_ISA {

struct IntVec {
  __m256i v;
};

inline Vec to_floats(IntVec a) { return {_mm256_cvtepi32_ps(a.v)}; }

inline __m256i four_inputs(const int8_t* x) {
  int32_t four;
  memcpy(&four, x, sizeof four);
  return _mm256_set1_epi32(four);
}

// Lets the compiler not move sums apart: it would make a tree of them, for which registers are too few.
inline void in_order(__m256i& sum) { asm("" : "+x"(sum)); }

constexpr int kDotTokens = 6;
// One load of an activation serves as many strips as registers hold the sums of.
template <int bits, int tokens>
constexpr int kStrips = bits == 4 || tokens <= 2 ? 2 : 1;
template <int bits>
constexpr int kZeroLeft = bits == 4 ? 8 : 0;

inline __m256i load_codes(const uint8_t* codes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
}

// A code of 4 bits times an activation is at most 15 * 127, and 16 of these fit an int16.
template <int bits, int tokens, int strips>
  requires(bits == 4)
__attribute__((always_inline)) inline void dot_group(const uint8_t* codes, const int8_t* x,
                                                     IntVec (&dots)[tokens][strips]) {
  const __m256i low = _mm256_set1_epi8(15);
  __m256i halves[tokens][strips];
#pragma GCC unroll 8
  for (int c = 0; c < 8; ++c) {  // four inputs: in a byte the even ones are the lower half
    __m256i code[strips];
#pragma GCC unroll 2
    for (int s = 0; s < strips; ++s) {
      const __m256i both = load_codes(codes + 64 * (c / 2) + 32 * s);
      code[s] = _mm256_and_si256(c % 2 == 0 ? both : _mm256_srli_epi16(both, 4), low);
    }
#pragma GCC unroll 8
    for (int m = 0; m < tokens; ++m) {
      const __m256i four = four_inputs(x + 32 * m + 4 * c);
#pragma GCC unroll 2
      for (int s = 0; s < strips; ++s) {
        const __m256i products = _mm256_maddubs_epi16(code[s], four);
        halves[m][s] = c == 0 ? products : _mm256_add_epi16(halves[m][s], products);
        in_order(halves[m][s]);
      }
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < tokens; ++m) {
#pragma GCC unroll 2
    for (int s = 0; s < strips; ++s) {
      dots[m][s].v = _mm256_madd_epi16(halves[m][s], _mm256_set1_epi16(1));
    }
  }
}

// A code of 8 bits goes as its magnitude, at most 127, and its sign is given to the activation.
template <int bits, int tokens, int strips>
  requires(bits == 8)
__attribute__((always_inline)) inline void dot_group(const uint8_t* codes, const int8_t* x,
                                                     IntVec (&dots)[tokens][strips]) {
  const __m256i zero_point = _mm256_set1_epi8(-128), ones = _mm256_set1_epi16(1);
#pragma GCC unroll 8
  for (int c = 0; c < 8; ++c) {
    __m256i code[strips], magnitude[strips];
#pragma GCC unroll 2
    for (int s = 0; s < strips; ++s) {
      code[s] = _mm256_xor_si256(load_codes(codes + 64 * c + 32 * s), zero_point);
      magnitude[s] = _mm256_abs_epi8(code[s]);
    }
#pragma GCC unroll 8
    for (int m = 0; m < tokens; ++m) {
      const __m256i four = four_inputs(x + 32 * m + 4 * c);
#pragma GCC unroll 2
      for (int s = 0; s < strips; ++s) {
        const __m256i with_sign = _mm256_sign_epi8(four, code[s]);
        const __m256i sum = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude[s], with_sign), ones);
        dots[m][s].v = c == 0 ? sum : _mm256_add_epi32(dots[m][s].v, sum);
        in_order(dots[m][s].v);
      }
    }
  }
}

inline float largest_magnitude(const float* values) {
  const __m256i rest = _mm256_set1_epi32(0x7FFFFFFF);
  __m256i most = _mm256_setzero_si256();  // as integers, magnitudes are in order, NaN above all
  for (int i = 0; i < 32; i += 8) {
    const __m256i bits = _mm256_castps_si256(_mm256_loadu_ps(values + i));
    most = _mm256_max_epi32(most, _mm256_and_si256(bits, rest));
  }
  __m128i x = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
  x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0x4E));
  x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0xB1));
  return _mm_cvtss_f32(_mm_castsi128_ps(x));
}

inline int32_t round_to_int8(const float* values, float factor, int8_t* out) {
  __m256i whole[4];
  for (int i = 0; i < 4; ++i) {
    whole[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(values + 8 * i),
                                                _mm256_set1_ps(factor)));
  }
  // Packing takes 128 bits of each in turn, which the last step undoes.
  const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]),
                                           _mm256_packs_epi32(whole[2], whole[3]));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permutevar8x32_epi32(bytes, order));
  const __m256i sums = _mm256_add_epi32(_mm256_add_epi32(whole[0], whole[1]),
                                        _mm256_add_epi32(whole[2], whole[3]));
  __m128i x = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0x4E));
  x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0xB1));
  return _mm_cvtsi128_si32(x);
}

}  // namespace deltaport::DELTAPORT_ISA
