// Eight floats: AVX2 with FMA and F16C.
#pragma once

#include <immintrin.h>

namespace deltaport::DELTAPORT_ISA {

struct Vec {
  static constexpr int width = 8;
  static constexpr int registers = 16;
  __m256 v;
  static Vec zero() { return {_mm256_setzero_ps()}; }
  static Vec all(float x) { return {_mm256_set1_ps(x)}; }
};

inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec fmadd(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec fnmadd(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
// NaN where b is NaN.
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
// -infinity where column > position.
inline Vec hide_beyond(Vec score, Vec column, Vec position) {
  const __m256 beyond = _mm256_cmp_ps(column.v, position.v, _CMP_GT_OQ);
  return {_mm256_blendv_ps(score.v, _mm256_set1_ps(-__builtin_inff()), beyond)};
}
inline Vec round(Vec a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// a * 2^n for whole n in [-160, 160]: in two steps, each of which a float's exponent has room for.
inline Vec scale_by_power_of_two(Vec a, Vec n) {
  const __m256i whole = _mm256_cvtps_epi32(n.v);
  const __m256i half = _mm256_srai_epi32(whole, 1);
  const auto power = [](__m256i e) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23));
  };
  const __m256 once = _mm256_mul_ps(a.v, power(half));
  return {_mm256_mul_ps(once, power(_mm256_sub_epi32(whole, half)))};
}

inline __m256i first(int n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane);
}
inline Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
// Past the caches, to an address that is a multiple of a vector's size; others see it after the fence.
inline void stream(float* p, Vec a) { _mm256_stream_ps(p, a.v); }
inline void stream_fence() { _mm_sfence(); }
// The first n lanes, the others 0; memory behind them is not touched.
inline Vec load_partial(const float* p, int n) { return {_mm256_maskload_ps(p, first(n))}; }
inline void store_partial(float* p, Vec a, int n) { _mm256_maskstore_ps(p, first(n), a.v); }
inline Vec load_bf16(const BFloat16* p) {
  // All eight in both halves, as loads can; then one shuffle puts four of them into the upper bytes
  // of each. Widening and shifting would be two, which compete with the products.
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m256i places = _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7,  //
                                          -1, -1, 8, 9, -1, -1, 10, 11, -1, -1, 12, 13, -1, -1, 14,
                                          15);
  return {_mm256_castsi256_ps(_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bits), places))};
}
inline Vec load_fp16(const Float16* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline __m128 halves(__m256 a, __m128 (*combine)(__m128, __m128)) {
  __m128 x = combine(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = combine(x, _mm_movehl_ps(x, x));
  return combine(x, _mm_shuffle_ps(x, x, 1));
}
// The sum of the lanes, in an order that is always the same.
inline float sum(Vec a) {
  return _mm_cvtss_f32(halves(a.v, [](__m128 x, __m128 y) { return _mm_add_ps(x, y); }));
}
// The same for four vectors at once.
inline void sum_each_of_4(const Vec a[4], float* out) {
  const auto fours = [](__m256 x, __m256 y) {  // lanes four apart: of x, then of y
    return _mm256_add_ps(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));
  };
  const __m256 ac = fours(a[0].v, a[2].v), bd = fours(a[1].v, a[3].v);
  const __m256 x = _mm256_add_ps(_mm256_shuffle_ps(ac, bd, 0x44), _mm256_shuffle_ps(ac, bd, 0xEE));
  const __m256 sums = _mm256_add_ps(x, _mm256_permute_ps(x, 0xB1));  // at 0 and 2: a b, c d
  const __m256i firsts = _mm256_setr_epi32(0, 2, 4, 6, 0, 0, 0, 0);
  _mm_storeu_ps(out, _mm256_castps256_ps128(_mm256_permutevar8x32_ps(sums, firsts)));
}
inline float largest(Vec a) {
  return _mm_cvtss_f32(halves(a.v, [](__m128 x, __m128 y) { return _mm_max_ps(x, y); }));
}

// Rows become columns.
inline void transpose(Vec (&rows)[Vec::width]) {
  __m256 pairs[8];  // of 32 bits of two rows, within 128 bits
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(rows[i].v, rows[i + 1].v);
    pairs[i + 1] = _mm256_unpackhi_ps(rows[i].v, rows[i + 1].v);
  }
  __m256 fours[8];  // fours[4 g + c]: column c of both 128 bits, of rows 4 g to 4 g + 3
  for (int g = 0; g < 8; g += 4) {
    fours[g] = _mm256_shuffle_ps(pairs[g], pairs[g + 2], 0x44);
    fours[g + 1] = _mm256_shuffle_ps(pairs[g], pairs[g + 2], 0xEE);
    fours[g + 2] = _mm256_shuffle_ps(pairs[g + 1], pairs[g + 3], 0x44);
    fours[g + 3] = _mm256_shuffle_ps(pairs[g + 1], pairs[g + 3], 0xEE);
  }
  for (int c = 0; c < 4; ++c) {
    rows[c] = {_mm256_permute2f128_ps(fours[c], fours[4 + c], 0x20)};
    rows[4 + c] = {_mm256_permute2f128_ps(fours[c], fours[4 + c], 0x31)};
  }
}

// out[j] holds p[4 * lane + j].
inline void load_deinterleaved4(const float* p, Vec out[4]) {
  const __m256i index = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
  for (int j = 0; j < 4; ++j) out[j] = {_mm256_i32gather_ps(p + j, index, 4)};
}

}  // namespace deltaport::DELTAPORT_ISA
