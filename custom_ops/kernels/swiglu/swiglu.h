// The gate of a SwiGLU feed-forward; see SwiGLU in docs/custom-ops.md for the maths.
#pragma once

#include <cstdint>

namespace deltaport {

struct SwiGLUArgs {
  int64_t tokens, inner;
  const float* gate_up;  // [tokens, 2 * inner]
  float* y;              // [tokens, inner]
};

}  // namespace deltaport
