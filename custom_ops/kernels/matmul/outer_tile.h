// A tile of a product of two computed matrices, sums held in registers: for right sides whose rows
// are contiguous, where dot_tile.h is for rows of weights contiguous along the sum.
#pragma once

#include "simd/vec.h"

namespace deltaport::DELTAPORT_ISA {

template <int rows>
struct OuterTile {
  static constexpr int64_t columns = 2 * Vec::width;

  Vec sum[rows][2];

  // sum[r] += sum over j < n of left[j * left_stride + r] * right[j * right_stride]
  void multiply_add(const float* left, int64_t left_stride, const float* right,
                    int64_t right_stride, int64_t n) {
    Vec total[rows][2];
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) total[r][0] = sum[r][0], total[r][1] = sum[r][1];
    for (int64_t j = 0; j < n; ++j) {
      const Vec first = load(right + j * right_stride);
      const Vec second = load(right + j * right_stride + Vec::width);
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) {
        const Vec factor = Vec::all(left[j * left_stride + r]);
        total[r][0] = fmadd(factor, first, total[r][0]);
        total[r][1] = fmadd(factor, second, total[r][1]);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) sum[r][0] = total[r][0], sum[r][1] = total[r][1];
  }

  // sum[r] = scale(r) * from[r * stride]
  template <class Scale>
  void load_scaled(const float* from, int64_t stride, Scale scale) {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const Vec factor = Vec::all(scale(r));
      sum[r][0] = factor * load(from + r * stride);
      sum[r][1] = factor * load(from + r * stride + Vec::width);
    }
  }

  void store_to(float* to, int64_t stride) const {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      store(to + r * stride, sum[r][0]);
      store(to + r * stride + Vec::width, sum[r][1]);
    }
  }
};

}  // namespace deltaport::DELTAPORT_ISA
