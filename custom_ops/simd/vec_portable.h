// Four floats in the vector extension of GCC and Clang: SSE2, NEON and whatever else there is.
// Nothing here rounds once where it is written to round twice, so all such machines agree.
#pragma once

#include <cstring>

namespace deltaport::DELTAPORT_ISA {

using Floats = float __attribute__((vector_size(16)));
using Ints = int32_t __attribute__((vector_size(16)));

struct Vec {
  static constexpr int width = 4;
  static constexpr int registers = 16;
  Floats v;
  static Vec zero() { return {Floats{}}; }
  static Vec all(float x) { return {Floats{x, x, x, x}}; }
};

inline Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
inline Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
inline Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
inline Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
inline Vec fmadd(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }
inline Vec fnmadd(Vec a, Vec b, Vec c) { return {c.v - a.v * b.v}; }
// NaN where b is NaN.
inline Vec max(Vec a, Vec b) { return {a.v > b.v ? a.v : b.v}; }
inline Vec min(Vec a, Vec b) { return {a.v < b.v ? a.v : b.v}; }
// -infinity where column > position.
inline Vec hide_beyond(Vec score, Vec column, Vec position) {
  return {column.v > position.v ? Vec::all(-__builtin_inff()).v : score.v};
}
// To the nearest whole number, for |a| < 2^22.
inline Vec round(Vec a) {
  const Floats magic = Vec::all(12582912.0f).v;  // 1.5 * 2^23 leaves no bit for a fraction
  return {(a.v + magic) - magic};
}
// a * 2^n for whole n in [-160, 160]: in two steps, each of which a float's exponent has room for.
inline Vec scale_by_power_of_two(Vec a, Vec n) {
  const Ints whole = __builtin_convertvector(n.v, Ints);
  const Ints half = whole >> 1;
  const Ints low = (half + 127) << 23, high = (whole - half + 127) << 23;
  return {a.v * reinterpret_cast<Floats>(low) * reinterpret_cast<Floats>(high)};
}

inline Vec load(const float* p) {
  Vec a;
  memcpy(&a.v, p, sizeof a.v);
  return a;
}
inline void store(float* p, Vec a) { memcpy(p, &a.v, sizeof a.v); }
// Through the caches: that it pays to go past them was seen with AVX2 alone.
inline void stream(float* p, Vec a) { store(p, a); }
inline void stream_fence() {}
// The first n lanes, the others 0; memory behind them is not touched.
inline Vec load_partial(const float* p, int n) {
  float lanes[Vec::width] = {};
  for (int i = 0; i < n && i < Vec::width; ++i) lanes[i] = p[i];
  return load(lanes);
}
inline void store_partial(float* p, Vec a, int n) {
  for (int i = 0; i < n; ++i) p[i] = a.v[i];
}
inline Vec load_bf16(const BFloat16* p) {
  Ints bits;
  for (int i = 0; i < 4; ++i) bits[i] = static_cast<int32_t>(static_cast<uint32_t>(p[i].bits) << 16);
  return {reinterpret_cast<Floats>(bits)};
}
inline float as_float(Float16 half);
inline Vec load_fp16(const Float16* p) {
  return {Floats{as_float(p[0]), as_float(p[1]), as_float(p[2]), as_float(p[3])}};
}
// The sum of the lanes, in an order that is always the same.
inline float sum(Vec a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }
inline void sum_each_of_4(const Vec a[4], float* out) {
  for (int i = 0; i < 4; ++i) out[i] = sum(a[i]);
}
inline float largest(Vec a) {
  const float x = a.v[0] > a.v[2] ? a.v[0] : a.v[2], y = a.v[1] > a.v[3] ? a.v[1] : a.v[3];
  return x > y ? x : y;
}

// Rows become columns.
inline void transpose(Vec (&rows)[Vec::width]) {
  const Floats a = rows[0].v, b = rows[1].v, c = rows[2].v, d = rows[3].v;
  for (int i = 0; i < Vec::width; ++i) rows[i].v = Floats{a[i], b[i], c[i], d[i]};
}

// out[j] holds p[4 * lane + j].
inline void load_deinterleaved4(const float* p, Vec out[4]) {
  for (int j = 0; j < 4; ++j) out[j] = {Floats{p[j], p[4 + j], p[8 + j], p[12 + j]}};
}

}  // namespace deltaport::DELTAPORT_ISA
