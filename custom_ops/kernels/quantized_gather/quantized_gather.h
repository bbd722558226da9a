// Rows of a quantized table: see custom_ops/definitions/quantized_gather.py.
#pragma once

#include "kernels/quantized/quantized_weights.h"

namespace deltaport {

struct QuantizedGatherArgs {
  int64_t tokens, width;
  const int64_t* ids;  // [tokens], rows that there are
  QuantizedWeights weight;
  float* y;  // [tokens, width]
};

}  // namespace deltaport
