// Weights as codes of 4 or 8 bits, in the layout that kernels read.
#pragma once

#include <cstdint>

#include "simd/element_type.h"

namespace deltaport {

constexpr int64_t kTileOutputs = 16;  // rows of a tile
constexpr int64_t kGroupInputs = 32;  // inputs of a group, whose products are summed as integers

// A matrix [outputs, inputs], padded to whole tiles of rows and blocks of inputs:
//     weight = scale * (code - zero) + offset,    zero = 8 or 128
// with a scale, and perhaps an offset, for each row and block. custom_ops/definitions has the layout.
struct QuantizedWeights {
  const uint8_t* codes = nullptr;    // [tiles, groups, bits, 64]
  const BFloat16* scales = nullptr;  // [tiles, groups / block_groups, 1 or 2, 16]
  int bits = 4;
  bool has_offsets = false;
  int64_t groups = 0;
  int64_t block_groups = 1;  // groups of a block

  int64_t tile_bytes() const { return groups * bits * 64; }
  int64_t tile_scales() const {
    return groups / block_groups * (has_offsets ? 2 : 1) * kTileOutputs;
  }
  // The same from a tile on.
  QuantizedWeights from_tile(int64_t tile) const {
    QuantizedWeights rest = *this;
    rest.codes += tile * tile_bytes();
    rest.scales += tile * tile_scales();
    return rest;
  }
};

}  // namespace deltaport
