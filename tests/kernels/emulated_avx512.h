// The AVX-512 intrinsics that simd/vec_avx512.h calls, written out lane by lane, so that the kernels
// made of them can be tested on a machine without (make emulate). Included before everything else.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace deltaport::emulated {

using F32 = float __attribute__((vector_size(64)));
using F64 = double __attribute__((vector_size(64)));
using I32 = int32_t __attribute__((vector_size(64)));

template <class Lane>
inline F32 each(Lane lane) {
  F32 out;
  for (int i = 0; i < 16; ++i) out[i] = lane(i);
  return out;
}

inline F32 add(F32 a, F32 b) { return a + b; }
inline F32 sub(F32 a, F32 b) { return a - b; }
inline F32 mul(F32 a, F32 b) { return a * b; }
inline F32 div(F32 a, F32 b) { return a / b; }
inline F32 fmadd(F32 a, F32 b, F32 c) {
  return each([&](int i) { return std::fma(a[i], b[i], c[i]); });
}
inline F32 fnmadd(F32 a, F32 b, F32 c) {
  return each([&](int i) { return std::fma(-a[i], b[i], c[i]); });
}
inline F32 max(F32 a, F32 b) {
  return each([&](int i) { return a[i] > b[i] ? a[i] : b[i]; });
}
inline F32 min(F32 a, F32 b) {
  return each([&](int i) { return a[i] < b[i] ? a[i] : b[i]; });
}
inline float reduce_max(F32 a) {
  float largest = a[0];
  for (int i = 1; i < 16; ++i) largest = a[i] > largest ? a[i] : largest;
  return largest;
}
inline F32 set1(float x) {
  return each([&](int) { return x; });
}
inline I32 set1(int x) { return I32{} + x; }
inline F32 nearest(F32 a) {
  return each([&](int i) { return std::nearbyint(a[i]); });
}
inline F32 scalef(F32 a, F32 n) {
  return each([&](int i) { return std::ldexp(a[i], static_cast<int>(n[i])); });
}

inline F32 load(const float* p) {
  F32 out;
  memcpy(&out, p, sizeof out);
  return out;
}
inline void store(float* p, F32 a) { memcpy(p, &a, sizeof a); }
inline F32 load(__mmask16 mask, const float* p) {
  return each([&](int i) { return mask >> i & 1 ? p[i] : 0.0f; });
}
inline void store(float* p, __mmask16 mask, F32 a) {
  for (int i = 0; i < 16; ++i) {
    if (mask >> i & 1) p[i] = a[i];
  }
}
inline F32 blend(__mmask16 mask, F32 a, F32 b) {
  return each([&](int i) { return mask >> i & 1 ? b[i] : a[i]; });
}
inline __mmask16 greater(F32 a, F32 b) {
  __mmask16 mask = 0;
  for (int i = 0; i < 16; ++i) mask |= (a[i] > b[i] ? 1 : 0) << i;
  return mask;
}
inline I32 widen(__m256i halves) {
  uint16_t from[16];
  memcpy(from, &halves, sizeof from);
  I32 out;
  for (int i = 0; i < 16; ++i) out[i] = from[i];
  return out;
}
inline F32 from_half(__m256i halves) {
  __m128i from[2];
  memcpy(from, &halves, sizeof from);
  const __m256 parts[2] = {_mm256_cvtph_ps(from[0]), _mm256_cvtph_ps(from[1])};
  F32 out;
  memcpy(&out, parts, sizeof out);
  return out;
}
inline __m128 low_quarter(F32 a) {
  __m128 out;
  memcpy(&out, &a, sizeof out);
  return out;
}

// Lane i of 128 bits: 4 * (i / 4) + the two bits of `control` for i % 4.
inline F32 permute(F32 a, int control) {
  return each([&](int i) { return a[i / 4 * 4 + (control >> 2 * (i % 4) & 3)]; });
}
inline F32 shuffle_quarters(F32 a, F32 b, int control) {
  return each([&](int i) {
    const int quarter = control >> 2 * (i / 4) & 3;
    return (i < 8 ? a : b)[4 * quarter + i % 4];
  });
}
inline F32 permutex(I32 index, F32 a) {
  return each([&](int i) { return a[index[i] & 15]; });
}
inline F32 permutex2(F32 a, I32 index, F32 b) {
  return each([&](int i) { return (index[i] & 16 ? b : a)[index[i] & 15]; });
}
inline F32 unpack(F32 a, F32 b, int from) {
  return each([&](int i) { return (i % 2 ? b : a)[i / 4 * 4 + from + i % 4 / 2]; });
}
inline F64 unpack(F64 a, F64 b, int from) {
  F64 out;
  for (int i = 0; i < 8; ++i) out[i] = (i % 2 ? b : a)[i / 2 * 2 + from];
  return out;
}

// Sixteen lanes of 32 bits as lanes of a narrower type.
template <class Lane>
struct Lanes {
  static constexpr int count = 64 / sizeof(Lane);
  Lane at[count];
  Lanes() = default;
  explicit Lanes(I32 from) { memcpy(at, &from, sizeof at); }
  I32 whole() const {
    I32 out;
    memcpy(&out, at, sizeof out);
    return out;
  }
};
template <class Lane, class Body>
inline I32 each_of(Body body) {
  Lanes<Lane> out;
  for (int i = 0; i < Lanes<Lane>::count; ++i) out.at[i] = static_cast<Lane>(body(i));
  return out.whole();
}
inline I32 load_bytes(const void* p) {
  I32 out;
  memcpy(&out, p, sizeof out);
  return out;
}
inline I32 add_halves(I32 a, I32 b) {
  const Lanes<int16_t> x(a), y(b);
  return each_of<int16_t>([&](int i) { return x.at[i] + y.at[i]; });
}
inline I32 shift_halves(I32 a, int n) {
  const Lanes<uint16_t> x(a);
  return each_of<uint16_t>([&](int i) { return x.at[i] >> n; });
}
inline I32 multiply_bytes(I32 a, I32 b) {  // pairs of products, as far as an int16 goes
  const Lanes<uint8_t> x(a);
  const Lanes<int8_t> y(b);
  return each_of<int16_t>([&](int i) {
    const int sum = x.at[2 * i] * y.at[2 * i] + x.at[2 * i + 1] * y.at[2 * i + 1];
    return sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum;
  });
}
inline I32 multiply_halves(I32 a, I32 b) {
  const Lanes<int16_t> x(a), y(b);
  return each_of<int32_t>([&](int i) {
    return x.at[2 * i] * y.at[2 * i] + x.at[2 * i + 1] * y.at[2 * i + 1];
  });
}
inline I32 add_products(I32 sums, I32 a, I32 b) {
  const Lanes<uint8_t> x(a);
  const Lanes<int8_t> y(b);
  return each_of<int32_t>([&](int i) {
    int sum = sums[i];
    for (int j = 4 * i; j < 4 * i + 4; ++j) sum += x.at[j] * y.at[j];
    return sum;
  });
}
inline I32 magnitudes(I32 a) {
  const Lanes<int8_t> x(a);
  return each_of<uint8_t>([&](int i) { return x.at[i] < 0 ? -x.at[i] : x.at[i]; });
}
inline uint64_t signs(I32 a) {
  const Lanes<int8_t> x(a);
  uint64_t mask = 0;
  for (int i = 0; i < 64; ++i) mask |= static_cast<uint64_t>(x.at[i] < 0) << i;
  return mask;
}
inline I32 subtract_bytes(I32 otherwise, uint64_t mask, I32 a, I32 b) {
  const Lanes<int8_t> x(a), y(b), z(otherwise);
  return each_of<int8_t>([&](int i) { return mask >> i & 1 ? x.at[i] - y.at[i] : z.at[i]; });
}
inline I32 max(I32 a, I32 b) {
  return each_of<int32_t>([&](int i) { return a[i] > b[i] ? a[i] : b[i]; });
}
inline int reduce_max(I32 a) {
  int largest = a[0];
  for (int i = 1; i < 16; ++i) largest = a[i] > largest ? a[i] : largest;
  return largest;
}
inline int reduce_add(I32 a) {
  int sum = 0;
  for (int i = 0; i < 16; ++i) sum += a[i];
  return sum;
}
inline I32 to_nearest(F32 a) {
  return each_of<int32_t>([&](int i) { return static_cast<int32_t>(std::nearbyint(a[i])); });
}
inline F32 from_ints(I32 a) {
  return each([&](int i) { return static_cast<float>(a[i]); });
}
inline __m128i low_bytes(I32 a) {
  int8_t bytes[16];
  for (int i = 0; i < 16; ++i) bytes[i] = static_cast<int8_t>(a[i]);
  __m128i out;
  memcpy(&out, bytes, sizeof out);
  return out;
}

}  // namespace deltaport::emulated

#undef _mm512_setr_epi32
#define __m512 ::deltaport::emulated::F32
#define __m512i ::deltaport::emulated::I32
#define _mm512_abs_epi8 ::deltaport::emulated::magnitudes
#define _mm512_add_epi16 ::deltaport::emulated::add_halves
#define _mm512_add_epi32(a, b) ((a) + (b))
#define _mm512_add_ps ::deltaport::emulated::add
#define _mm512_and_si512(a, b) ((a) & (b))
#define _mm512_castpd_ps(a) reinterpret_cast<::deltaport::emulated::F32>(a)
#define _mm512_castps512_ps128 ::deltaport::emulated::low_quarter
#define _mm512_castps_pd(a) reinterpret_cast<::deltaport::emulated::F64>(a)
#define _mm512_castps_si512(a) reinterpret_cast<::deltaport::emulated::I32>(a)
#define _mm512_castsi512_ps(a) reinterpret_cast<::deltaport::emulated::F32>(a)
#define _mm512_cmp_ps_mask(a, b, greater_than) ::deltaport::emulated::greater(a, b)
#define _mm512_cvtepi32_epi8 ::deltaport::emulated::low_bytes
#define _mm512_cvtepi32_ps ::deltaport::emulated::from_ints
#define _mm512_cvtepu16_epi32 ::deltaport::emulated::widen
#define _mm512_cvtph_ps ::deltaport::emulated::from_half
#define _mm512_cvtps_epi32 ::deltaport::emulated::to_nearest
#define _mm512_cvtss_f32(a) ((a)[0])
#define _mm512_div_ps ::deltaport::emulated::div
#define _mm512_dpbusd_epi32 ::deltaport::emulated::add_products
#define _mm512_fmadd_ps ::deltaport::emulated::fmadd
#define _mm512_fnmadd_ps ::deltaport::emulated::fnmadd
#define _mm512_loadu_ps ::deltaport::emulated::load
#define _mm512_loadu_si512 ::deltaport::emulated::load_bytes
#define _mm512_madd_epi16 ::deltaport::emulated::multiply_halves
#define _mm512_maddubs_epi16 ::deltaport::emulated::multiply_bytes
#define _mm512_mask_blend_ps ::deltaport::emulated::blend
#define _mm512_mask_storeu_ps ::deltaport::emulated::store
#define _mm512_mask_sub_epi8 ::deltaport::emulated::subtract_bytes
#define _mm512_maskz_loadu_ps ::deltaport::emulated::load
#define _mm512_max_epi32 ::deltaport::emulated::max
#define _mm512_max_ps ::deltaport::emulated::max
#define _mm512_min_ps ::deltaport::emulated::min
#define _mm512_movepi8_mask ::deltaport::emulated::signs
#define _mm512_mul_ps ::deltaport::emulated::mul
#define _mm512_permute_ps ::deltaport::emulated::permute
#define _mm512_permutex2var_ps ::deltaport::emulated::permutex2
#define _mm512_permutexvar_ps ::deltaport::emulated::permutex
#define _mm512_reduce_add_epi32 ::deltaport::emulated::reduce_add
#define _mm512_reduce_max_epi32 ::deltaport::emulated::reduce_max
#define _mm512_reduce_max_ps ::deltaport::emulated::reduce_max
#define _mm512_roundscale_ps(a, mode) ::deltaport::emulated::nearest(a)
#define _mm512_scalef_ps ::deltaport::emulated::scalef
#define _mm512_set1_epi16(x) ::deltaport::emulated::set1((x) * 0x00010001)
#define _mm512_set1_epi32 ::deltaport::emulated::set1
#define _mm512_set1_epi8(x) ::deltaport::emulated::set1(static_cast<int>(((x) & 0xFF) * 0x01010101u))
#define _mm512_set1_ps(x) ::deltaport::emulated::set1(static_cast<float>(x))
#define _mm512_setr_epi32(...) (::deltaport::emulated::I32{__VA_ARGS__})
#define _mm512_setzero_si512() (::deltaport::emulated::I32{})
#define _mm512_setzero_ps() (::deltaport::emulated::F32{})
#define _mm512_shuffle_f32x4 ::deltaport::emulated::shuffle_quarters
#define _mm512_slli_epi32(a, n) ((a) << (n))
#define _mm512_srli_epi16 ::deltaport::emulated::shift_halves
#define _mm512_storeu_ps ::deltaport::emulated::store
#define _mm512_sub_ps ::deltaport::emulated::sub
#define _mm512_unpackhi_pd(a, b) ::deltaport::emulated::unpack(a, b, 1)
#define _mm512_unpackhi_ps(a, b) ::deltaport::emulated::unpack(a, b, 2)
#define _mm512_unpacklo_pd(a, b) ::deltaport::emulated::unpack(a, b, 0)
#define _mm512_unpacklo_ps(a, b) ::deltaport::emulated::unpack(a, b, 0)
#define _mm512_xor_si512(a, b) ((a) ^ (b))
