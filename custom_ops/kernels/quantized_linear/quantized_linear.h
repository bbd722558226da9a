// y = x weight^T with a quantized weight: see custom_ops/definitions/quantized_linear.py.
#pragma once

#include "kernels/quantized/quantized_weights.h"

namespace deltaport {

struct QuantizedLinearArgs {
  int64_t tokens, inputs, outputs;
  const float* x;  // [tokens, inputs]
  QuantizedWeights weight;
  float* y;  // [tokens, outputs]
};

}  // namespace deltaport
