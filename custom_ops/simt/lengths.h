// How many tokens of a row are real.
#pragma once

#include "simd/vec.h"

namespace deltaport::DELTAPORT_ISA {

// From 0 to `tokens`, whatever `lengths` holds: nobody can look at it before a kernel runs, and
// TensorRT times kernels with inputs it makes up.
DELTAPORT_INLINE int64_t real_tokens(const int64_t* lengths, int64_t row, int64_t tokens) {
  const int64_t given = lengths[row];
  return given < 0 ? 0 : given < tokens ? given : tokens;
}

}  // namespace deltaport::DELTAPORT_ISA
