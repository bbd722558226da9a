// The tensor cores' product of matrices in TF32, mma.m16n8k8: all lanes of a warp together add a b
// to c, matrices of 16 x 8, 8 x 8 and 16 x 8 that lie in their registers as PTX has it:
//
//     a[0] to a[3]: rows g, g + 8, g, g + 8 and columns t, t, t + 4, t + 4   with g = lane / 4
//     b[0], b[1]:   rows t, t + 4 and column g                              and t = lane % 4
//     c[0] to c[3]: rows g, g, g + 8, g + 8 and columns 2t, 2t + 1, 2t, 2t + 1
//
// (PTX ISA, "Matrix Fragments for mma.m16n8k8".) On the host the registers of all lanes are there,
// and what the instruction does is computed from them.
#pragma once

#include <cmath>

#include "simt/team.h"

namespace deltaport::DELTAPORT_ISA {

// A float with TF32's 10 bits of fraction: to the nearest, ties away from zero.
DELTAPORT_INLINE float round_to_tf32(float x) {
  uint32_t bits;
#if defined(__CUDA_ARCH__)
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  bits &= ~0x1FFFu;  // what a tensor core ignores: split() subtracts this float from x
#else
  memcpy(&bits, &x, sizeof bits);
  const bool is_nan = (bits & 0x7FFFFFFF) > 0x7F800000;
  bits = is_nan ? 0x7FFFFFFF : (bits + 0x1000) & ~0x1FFFu;
#endif
  memcpy(&x, &bits, sizeof x);
  return x;
}

#if defined(__CUDACC__)
__device__ inline void mma(float (&c)[1][4], const float (&a)[1][4], const float (&b)[1][2]) {
  const auto bits = [](float x) { return __float_as_uint(x); };
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3])
      : "r"(bits(a[0][0])), "r"(bits(a[0][1])), "r"(bits(a[0][2])), "r"(bits(a[0][3])),
        "r"(bits(b[0][0])), "r"(bits(b[0][1])));
}
#endif

// sum += a b for a row a. Tensor cores do not round as floats do: the terms are aligned to the
// largest of them, what is below its last bit is cut off, and so is what the sum has too many bits
// for (Fasi et al., "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 7:e330).
// GPUs differ in how many products they take at once and in the bits they keep beyond those of a
// float: here it is all 8 and none.
inline void add_row_product(float (&sum)[8], const float (&a)[8], const float (&b)[8][8]) {
  constexpr int kTerms = 9;
  float terms[kTerms][8], plain[8] = {}, largest[8] = {};
  for (int n = 0; n < 8; ++n) terms[8][n] = sum[n];
  for (int k = 0; k < 8; ++k) {
    for (int n = 0; n < 8; ++n) terms[k][n] = a[k] * b[k][n];  // exact: 11 bits times 11
  }
  for (int k = 0; k < kTerms; ++k) {
    for (int n = 0; n < 8; ++n) {
      const float magnitude = fabsf(terms[k][n]);
      largest[n] = magnitude > largest[n] ? magnitude : largest[n];
      plain[n] += terms[k][n];
    }
  }
  bool is_finite = true;
  for (int n = 0; n < 8; ++n) is_finite &= fabsf(plain[n]) < INFINITY;
  if (!is_finite) {
    memcpy(sum, plain, sizeof plain);
    return;
  }
  float unit[8], per_unit[8];  // of the largest term's last bit, and its inverse
  for (int n = 0; n < 8; ++n) {
    uint32_t bits;
    memcpy(&bits, &largest[n], sizeof bits);
    const uint32_t exponent = bits >> 23 > 24 ? bits >> 23 : 24;
    const uint32_t unit_bits = (exponent - 23) << 23, per_unit_bits = (277 - exponent) << 23;
    memcpy(&unit[n], &unit_bits, sizeof unit_bits);
    memcpy(&per_unit[n], &per_unit_bits, sizeof per_unit_bits);
  }
  int32_t total[8] = {};
  for (int k = 0; k < kTerms; ++k) {
    for (int n = 0; n < 8; ++n) total[n] += static_cast<int32_t>(terms[k][n] * per_unit[n]);
  }
  for (int n = 0; n < 8; ++n) {
    uint32_t magnitude = static_cast<uint32_t>(total[n] < 0 ? -total[n] : total[n]);
    uint32_t beyond = magnitude >> 24;  // fewer than 4 bits: 9 terms of 24
    beyond |= beyond >> 1;
    beyond |= beyond >> 2;
    magnitude &= ~beyond;
    const float value = static_cast<float>(static_cast<int32_t>(magnitude)) * unit[n];
    sum[n] = total[n] < 0 ? -value : value;
  }
}

inline void mma(float (&c)[kLanes][4], const float (&a)[kLanes][4], const float (&b)[kLanes][2]) {
  float left[16][8], right[8][8], sums[16][8];
  const auto each_of_c = [&](const auto& body) {
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int i = 0; i < 4; ++i) {
        body(c[lane][i], sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]);
      }
    }
  };
  each_of_c([](float own, float& sum) { sum = own; });
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < 4; ++i) left[lane / 4 + i % 2 * 8][lane % 4 + i / 2 * 4] = a[lane][i];
    for (int i = 0; i < 2; ++i) right[lane % 4 + i * 4][lane / 4] = b[lane][i];
  }
  for (int row = 0; row < 16; ++row) add_row_product(sums[row], left[row], right);
  each_of_c([](float& own, float sum) { own = sum; });
}

}  // namespace deltaport::DELTAPORT_ISA
