// One float: a thread of a GPU. It is compiled for hosts, too, where the same code gives the same bits:
// nothing is contracted that is not written so, and division and square root round correctly.
#pragma once

#include <cmath>
#include <cstring>

namespace deltaport::DELTAPORT_ISA {

struct Vec {
  static constexpr int width = 1;
  static constexpr int registers = 128;
  float v;
  DELTAPORT_INLINE static Vec zero() { return {0.0f}; }
  DELTAPORT_INLINE static Vec all(float x) { return {x}; }
};

DELTAPORT_INLINE Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
DELTAPORT_INLINE Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
DELTAPORT_INLINE Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
DELTAPORT_INLINE Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
DELTAPORT_INLINE Vec fmadd(Vec a, Vec b, Vec c) { return {fmaf(a.v, b.v, c.v)}; }
DELTAPORT_INLINE Vec fnmadd(Vec a, Vec b, Vec c) { return {fmaf(-a.v, b.v, c.v)}; }
// NaN where b is NaN.
DELTAPORT_INLINE Vec max(Vec a, Vec b) { return {a.v > b.v ? a.v : b.v}; }
DELTAPORT_INLINE Vec min(Vec a, Vec b) { return {a.v < b.v ? a.v : b.v}; }
// To the nearest whole number, for |a| < 2^22.
DELTAPORT_INLINE Vec round(Vec a) { return {(a.v + 12582912.0f) - 12582912.0f}; }
// a * 2^n for whole n in [-160, 160]: in two steps, each of which a float's exponent has room for.
DELTAPORT_INLINE Vec scale_by_power_of_two(Vec a, Vec n) {
  const int whole = static_cast<int>(n.v), half = whole >> 1;
  const int bits[2] = {(half + 127) << 23, (whole - half + 127) << 23};
  float parts[2];
  memcpy(parts, bits, sizeof parts);
  return {a.v * parts[0] * parts[1]};
}

DELTAPORT_INLINE Vec load(const float* p) { return {*p}; }
DELTAPORT_INLINE void store(float* p, Vec a) { *p = a.v; }
DELTAPORT_INLINE Vec load_partial(const float* p, int n) { return {n > 0 ? *p : 0.0f}; }
DELTAPORT_INLINE void store_partial(float* p, Vec a, int n) {
  if (n > 0) *p = a.v;
}
DELTAPORT_INLINE float as_float(BFloat16 x);
DELTAPORT_INLINE float as_float(Float16 x);
DELTAPORT_INLINE Vec load_bf16(const BFloat16* p) { return {as_float(*p)}; }
DELTAPORT_INLINE Vec load_fp16(const Float16* p) { return {as_float(*p)}; }

}  // namespace deltaport::DELTAPORT_ISA
