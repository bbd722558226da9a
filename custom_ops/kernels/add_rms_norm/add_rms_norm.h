// Residual sum and RMS norm; see AddRMSNorm in docs/custom-ops.md for the maths.
#pragma once

#include <cstdint>

namespace deltaport {

struct AddRMSNormArgs {
  int64_t tokens, hidden;
  const float* x;         // [tokens, hidden]
  const float* residual;  // [tokens, hidden]
  const float* scale;     // [hidden]
  float norm_eps;
  float* y;    // [tokens, hidden]
  float* sum;  // [tokens, hidden]; may be x or residual
};

}  // namespace deltaport
