// Causal convolution over time with SiLU; see CausalConv1d in docs/custom-ops.md for the maths.
#pragma once

#include <cstdint>

#include "simd/element_type.h"

namespace deltaport {

struct CausalConv1dArgs {
  int64_t rows, tokens, channels, taps;
  const float* x;          // [rows, tokens, channels]
  Weights weight;          // [channels, taps]
  const float* state;      // [rows, taps - 1, channels]
  const int64_t* lengths;  // [rows]
  float* y;                // [rows, tokens, channels]
  float* new_state;        // as state, and may be the same memory
};

}  // namespace deltaport
