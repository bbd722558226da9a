// Sixteen floats: AVX-512 F, BW, DQ and VL.
#pragma once

#include <immintrin.h>

namespace deltaport::DELTAPORT_ISA {

struct Vec {
  static constexpr int width = 16;
  static constexpr int registers = 32;
  __m512 v;
  static Vec zero() { return {_mm512_setzero_ps()}; }
  static Vec all(float x) { return {_mm512_set1_ps(x)}; }
};

inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec fmadd(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec fnmadd(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
// NaN where b is NaN.
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
// -infinity where column > position.
inline Vec hide_beyond(Vec score, Vec column, Vec position) {
  const __mmask16 beyond = _mm512_cmp_ps_mask(column.v, position.v, _CMP_GT_OQ);
  return {_mm512_mask_blend_ps(beyond, score.v, _mm512_set1_ps(-__builtin_inff()))};
}
inline Vec round(Vec a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// a * 2^n for whole n in [-160, 160].
inline Vec scale_by_power_of_two(Vec a, Vec n) { return {_mm512_scalef_ps(a.v, n.v)}; }

inline __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }
inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
// Through the caches: that it pays to go past them was seen with AVX2 alone.
inline void stream(float* p, Vec a) { store(p, a); }
inline void stream_fence() {}
// The first n lanes, the others 0; memory behind them is not touched.
inline Vec load_partial(const float* p, int n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
inline void store_partial(float* p, Vec a, int n) { _mm512_mask_storeu_ps(p, first(n), a.v); }
inline Vec load_bf16(const BFloat16* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
}
inline Vec load_fp16(const Float16* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
// The sums of the lanes of four vectors, each always in the same order: lanes eight apart first,
// then four, two and one.
inline void sum_each_of_4(const Vec a[4], float* out) {
  const auto halves = [](__m512 x, __m512 y) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xEE));
  };
  const __m512 eights_ab = halves(a[0].v, a[1].v), eights_cd = halves(a[2].v, a[3].v);
  __m512 x = _mm512_add_ps(_mm512_shuffle_f32x4(eights_ab, eights_cd, 0x88),
                           _mm512_shuffle_f32x4(eights_ab, eights_cd, 0xDD));
  x = _mm512_add_ps(x, _mm512_permute_ps(x, 0x4E));
  x = _mm512_add_ps(x, _mm512_permute_ps(x, 0xB1));
  const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, x)));
}
inline float sum(Vec a) {
  __m512 x = _mm512_add_ps(a.v, _mm512_shuffle_f32x4(a.v, a.v, 0x4E));
  x = _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0xB1));
  x = _mm512_add_ps(x, _mm512_permute_ps(x, 0x4E));
  x = _mm512_add_ps(x, _mm512_permute_ps(x, 0xB1));
  return _mm512_cvtss_f32(x);
}
inline float largest(Vec a) { return _mm512_reduce_max_ps(a.v); }

// Rows become columns.
inline void transpose(Vec (&rows)[Vec::width]) {
  __m512 pairs[16];  // of 32 bits of two rows, within 128 bits
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_ps(rows[i].v, rows[i + 1].v);
    pairs[i + 1] = _mm512_unpackhi_ps(rows[i].v, rows[i + 1].v);
  }
  __m512 fours[16];  // fours[4 g + c]: column c of every 128 bits, of rows 4 g to 4 g + 3
  const auto low = [](__m512 a, __m512 b) {
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  };
  const auto high = [](__m512 a, __m512 b) {
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  };
  for (int g = 0; g < 16; g += 4) {
    fours[g] = low(pairs[g], pairs[g + 2]);
    fours[g + 1] = high(pairs[g], pairs[g + 2]);
    fours[g + 2] = low(pairs[g + 1], pairs[g + 3]);
    fours[g + 3] = high(pairs[g + 1], pairs[g + 3]);
  }
  for (int c = 0; c < 4; ++c) {
    const __m512 a = _mm512_shuffle_f32x4(fours[c], fours[4 + c], 0x44);
    const __m512 b = _mm512_shuffle_f32x4(fours[c], fours[4 + c], 0xEE);
    const __m512 d = _mm512_shuffle_f32x4(fours[8 + c], fours[12 + c], 0x44);
    const __m512 e = _mm512_shuffle_f32x4(fours[8 + c], fours[12 + c], 0xEE);
    rows[c] = {_mm512_shuffle_f32x4(a, d, 0x88)};
    rows[4 + c] = {_mm512_shuffle_f32x4(a, d, 0xDD)};
    rows[8 + c] = {_mm512_shuffle_f32x4(b, e, 0x88)};
    rows[12 + c] = {_mm512_shuffle_f32x4(b, e, 0xDD)};
  }
}

// out[j] holds p[4 * lane + j].
inline void load_deinterleaved4(const float* p, Vec out[4]) {
  const __m512i lane = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
  const __m512 a = _mm512_loadu_ps(p), b = _mm512_loadu_ps(p + 16);
  const __m512 c = _mm512_loadu_ps(p + 32), d = _mm512_loadu_ps(p + 48);
  for (int j = 0; j < 4; ++j) {
    const __m512i index = _mm512_add_epi32(lane, _mm512_set1_epi32(j));
    const __m512 low = _mm512_permutex2var_ps(a, index, b);
    const __m512 high = _mm512_permutex2var_ps(c, index, d);
    out[j] = {_mm512_mask_blend_ps(0xFF00, low, high)};
  }
}

}  // namespace deltaport::DELTAPORT_ISA
