// The functions the ops' maths needs, on vectors. All are within a few units in the last place of
// float32, relatively: also where the result is tiny, but that sigmoid and silu are 0 below -88.7,
// where e^-x is infinite and they are less than 1e-36.
#pragma once

#include "simd/vec.h"

namespace deltaport::DELTAPORT_ISA {

// e^x: 2^n e^r with |r| <= ln(2) / 2, and e^r by its series.
DELTAPORT_INLINE Vec exp(Vec x) {
  // Beyond these the result is 0 or infinity; the order of the arguments lets NaN through.
  x = max(Vec::all(-104.0f), min(Vec::all(89.0f), x));
  const Vec n = round(x * Vec::all(1.44269504088896341f));
  // ln(2) in two parts, the first short enough for n times it to be exact.
  Vec r = fnmadd(n, Vec::all(0.693359375f), x);
  r = fnmadd(n, Vec::all(-2.12194440054690583e-4f), r);
  Vec p = Vec::all(1.0f / 5040);
  p = fmadd(p, r, Vec::all(1.0f / 720));
  p = fmadd(p, r, Vec::all(1.0f / 120));
  p = fmadd(p, r, Vec::all(1.0f / 24));
  p = fmadd(p, r, Vec::all(1.0f / 6));
  p = fmadd(p, r, Vec::all(0.5f));
  p = fmadd(p * r, r, r) + Vec::all(1.0f);
  return scale_by_power_of_two(p, n);
}

DELTAPORT_INLINE Vec sigmoid(Vec x) { return Vec::all(1.0f) / (Vec::all(1.0f) + exp(Vec::zero() - x)); }

DELTAPORT_INLINE Vec silu(Vec x) { return x / (Vec::all(1.0f) + exp(Vec::zero() - x)); }

// log(1 + z) for z in [0, 1]: 2 artanh(s), s = z / (2 + z) <= 1/3, by its series.
DELTAPORT_INLINE Vec log1p_of_fraction(Vec z) {
  const Vec s = z / (Vec::all(2.0f) + z);
  const Vec t = s * s;
  Vec p = Vec::all(1.0f / 15);
  p = fmadd(p, t, Vec::all(1.0f / 13));
  p = fmadd(p, t, Vec::all(1.0f / 11));
  p = fmadd(p, t, Vec::all(1.0f / 9));
  p = fmadd(p, t, Vec::all(1.0f / 7));
  p = fmadd(p, t, Vec::all(0.2f));
  p = fmadd(p, t, Vec::all(1.0f / 3));
  const Vec twice = s + s;
  return fmadd(p * t, twice, twice);
}

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|).
DELTAPORT_INLINE Vec softplus(Vec x) {
  const Vec magnitude = max(x, Vec::zero() - x);
  return max(Vec::zero(), x) + log1p_of_fraction(exp(Vec::zero() - magnitude));
}

}  // namespace deltaport::DELTAPORT_ISA
