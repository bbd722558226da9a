// Codes and scales for weights: see graph_passes/quantize/quantize_rows.py.
#pragma once

#include "kernels/quantized/quantized_weights.h"

namespace deltaport {

struct QuantizeArgs {
  int64_t rows, inputs;
  const float* values;  // [rows, inputs], all finite
  int bits;             // 4 or 8
  bool offsets;
  int64_t block;     // inputs that have a scale in common, a multiple of 32
  uint8_t* codes;    // [tiles, blocks * block / 32, bits, 64]
  BFloat16* scales;  // [tiles, blocks, 1 or 2, 16]
};

constexpr int64_t kLargestBlock = 256;

}  // namespace deltaport
