// A product with weights; see Linear in docs/custom-ops.md.
#pragma once

#include <cstdint>

#include "simd/element_type.h"

namespace deltaport {

struct LinearArgs {
  int64_t tokens, inputs, outputs;
  const float* x;  // [tokens, inputs]
  Weights weight;  // [outputs, inputs]
  float* y;        // [tokens, outputs]
};

}  // namespace deltaport
