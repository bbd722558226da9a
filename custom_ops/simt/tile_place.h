// Weights as the lanes of a warp hold them: a tile of 16 rows, 64 inputs a step, of any storage.
//
// Lane l has rows 4 (l % 4) to 4 (l % 4) + 3 and inputs 8 (l / 4) to 8 (l / 4) + 7 of the step. So
// the 64 bytes of a chunk of codes are four lanes' reads of 16 bytes, the 4-bit codes of a step lie
// in 512 bytes in a row, and eight lanes read 128 bytes in a row of each row of two-byte weights.
#pragma once

#include "kernels/quantized/quantized_weights.h"
#include "simt/stored.h"
#include "simt/team.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int kTileRows = kTileOutputs, kStepInputs = 64;
constexpr int kLaneRows = 4, kLaneInputs = 8;
constexpr int kInputLanes = kStepInputs / kLaneInputs;  // lanes that share rows

DELTAPORT_INLINE int lane_row(int lane) { return lane % 4 * kLaneRows; }
DELTAPORT_INLINE int lane_input(int lane) { return lane / 4 * kLaneInputs; }

// A stack of matrices, each [rows, width]: in a type of floats, or as codes whose rows are padded
// to whole tiles in each matrix.
struct StoredMatrices {
  Weights elements;
  QuantizedWeights codes;  // where there are codes, in place of elements

  // As a GPU reads codes and scales. Elements may lie anywhere.
  bool is_aligned() const {
    return reinterpret_cast<uintptr_t>(codes.codes) % 16 == 0 &&
           reinterpret_cast<uintptr_t>(codes.scales) % 8 == 0;
  }
};

// Where a tile lies: rows beyond `rows` are padding, or not there.
struct TilePlace {
  int64_t first_row, tile, width;  // of the whole stack; inputs of a row
  int rows;

  DELTAPORT_INLINE static TilePlace at(int64_t matrix, int64_t rows, int64_t width, int64_t tile) {
    const int64_t rest = rows - tile * kTileRows, tiles = (rows + kTileRows - 1) / kTileRows;
    return {matrix * rows + tile * kTileRows, matrix * tiles + tile, width,
            static_cast<int>(rest < kTileRows ? rest : kTileRows)};
  }
};

// What of a step a lane holds, widened.
struct LaneWeights {
  float w[kLaneRows][kLaneInputs];
};

}  // namespace deltaport::DELTAPORT_ISA
