// Floats into the types activations are stored in: to the nearest, ties to even.
#pragma once

#include "simd/vec.h"

namespace deltaport::DELTAPORT_ISA {

DELTAPORT_INLINE void narrow(float x, float* to) { *to = x; }

DELTAPORT_INLINE void narrow(float x, BFloat16* to) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const bool is_nan = (bits & 0x7FFFFFFF) > 0x7F800000;
  bits = is_nan ? bits | 0x400000 : bits + 0x7FFF + (bits >> 16 & 1);
  to->bits = static_cast<uint16_t>(bits >> 16);
}

DELTAPORT_INLINE void narrow(float x, Float16* to) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000;
  bits &= 0x7FFFFFFF;
  if (bits > 0x7F800000) {
    bits = 0x7E00;
  } else if (bits >= 0x47800000) {  // 2^16
    bits = 0x7C00;
  } else if (bits < 0x38800000) {  // 2^-14: adding 0.5 rounds to what subnormal numbers have
    float value;
    memcpy(&value, &bits, sizeof value);
    value += 0.5f;
    memcpy(&bits, &value, sizeof bits);
    bits -= 0x3F000000;
  } else {  // the exponent's bias goes from 127 to 15
    bits = (bits + 0xFFF + (bits >> 13 & 1) - 0x38000000) >> 13;
  }
  to->bits = static_cast<uint16_t>(sign | bits);
}

}  // namespace deltaport::DELTAPORT_ISA
