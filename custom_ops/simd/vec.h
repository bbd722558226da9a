// The vector type of the instruction set a kernel is being compiled for.
//
// A translation unit defines one of DELTAPORT_SIMD_{AVX512,AVX2,PORTABLE}, or DELTAPORT_SIMT, and DELTAPORT_ISA, the
// name of its namespace, before it includes this. All that a vector body calls lives in that
// namespace, so that the linker cannot pick, for a machine without AVX-512, a function that was
// compiled with it. (That is also why the bodies call no inline function of the standard library that
// would not be inlined.)
#pragma once

#if !defined(DELTAPORT_ISA)
#error "define DELTAPORT_ISA and one of DELTAPORT_SIMD_* first"
#endif

#include <cstring>

#include "simd/element_type.h"

// What runs on a GPU, too.
#if defined(__CUDACC__)
#define DELTAPORT_INLINE __host__ __device__ inline
#define DELTAPORT_UNROLL _Pragma("unroll")
#else
#define DELTAPORT_INLINE inline
#define DELTAPORT_UNROLL
#endif

#if defined(DELTAPORT_SIMT)
#include "simt/vec_thread.h"
#elif defined(DELTAPORT_SIMD_AVX512)
#include "simd/vec_avx512.h"
#elif defined(DELTAPORT_SIMD_AVX2)
#include "simd/vec_avx2.h"
#else
#include "simd/vec_portable.h"
#endif

namespace deltaport::DELTAPORT_ISA {

inline Vec& operator+=(Vec& a, Vec b) { return a = a + b; }
inline Vec& operator*=(Vec& a, Vec b) { return a = a * b; }

// Values of any stored type, widened to float.
inline Vec load_as_float(const float* p) { return load(p); }
inline Vec load_as_float(const BFloat16* p) { return load_bf16(p); }
inline Vec load_as_float(const Float16* p) { return load_fp16(p); }

DELTAPORT_INLINE float as_float(float x) { return x; }
DELTAPORT_INLINE float as_float(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
DELTAPORT_INLINE float as_float(Float16 half) {
  const uint32_t sign = static_cast<uint32_t>(half.bits & 0x8000) << 16;
  const uint32_t rest = static_cast<uint32_t>(half.bits & 0x7FFF) << 13;
  const bool special = (half.bits & 0x7C00) == 0x7C00;  // infinite, or NaN
  uint32_t bits = special ? (rest | 0x7F800000) : rest;
  float value;
  memcpy(&value, &bits, sizeof value);
  // Moves the exponent's bias from 15 to 127, and puts subnormal numbers right as well.
  if (!special) value *= 5.192296858534828e33f;  // 2^112
  memcpy(&bits, &value, sizeof bits);
  bits |= sign;
  memcpy(&value, &bits, sizeof value);
  return value;
}

template <class Element>
inline Vec load_as_float_n(const Element* p, int n) {
  if (n == Vec::width) return load_as_float(p);
  Element part[Vec::width] = {};
  for (int i = 0; i < n; ++i) part[i] = p[i];
  return load_as_float(part);
}

// Calls body(c, n) for every vector of [0, size); n is Vec::width but for the last.
template <class Body>
inline void for_each_vector(int64_t size, Body body) {
  int64_t c = 0;
  for (; c + Vec::width <= size; c += Vec::width) body(c, Vec::width);
  if (c < size) body(c, static_cast<int>(size - c));
}

inline Vec load_n(const float* p, int n) { return n == Vec::width ? load(p) : load_partial(p, n); }
inline void store_n(float* p, Vec x, int n) {
  if (n == Vec::width) {
    store(p, x);
  } else {
    store_partial(p, x, n);
  }
}

// Asks for memory that will be used soon. Inlined always, for GCC drops the call of a function that
// does nothing else.
template <class Element>
__attribute__((always_inline)) inline void prefetch(const Element* from, int64_t elements) {
  constexpr int64_t kLine = 64 / sizeof(Element);
  for (int64_t c = 0; c < elements; c += kLine) __builtin_prefetch(from + c, 0, 2);
}

inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t round_up(int64_t a, int64_t to) { return (a + to - 1) / to * to; }

inline void copy_floats(float* to, const float* from, int64_t n) {
  for_each_vector(n, [&](int64_t c, int w) { store_n(to + c, load_n(from + c, w), w); });
}
inline void zero_floats(float* to, int64_t n) {
  for_each_vector(n, [&](int64_t c, int w) { store_n(to + c, Vec::zero(), w); });
}

}  // namespace deltaport::DELTAPORT_ISA
