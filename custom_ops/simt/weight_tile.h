// Weights as the lanes of a warp hold them: a tile of 16 rows, 64 inputs a step, of any storage.
//
// Lane l has rows 4 (l % 4) to 4 (l % 4) + 3 and inputs 8 (l / 4) to 8 (l / 4) + 7 of the step. So the
// 64 bytes of a chunk of codes are four lanes' reads of 16 bytes, 4-bit codes of a step are 512 bytes
// in a row, and eight lanes read 128 bytes in a row of each row of two-byte weights.
//
// Codes are made weights, scale * (code - zero) + offset, and multiplied with activations as these
// are: other than on CPUs activations are not rounded to int8 first.
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

// A stack of matrices, each [rows, width]: in a type of floats, or as codes whose rows are padded to
// whole tiles in each matrix. On a GPU codes lie on a multiple of 16 bytes, their scales of 8.
struct StoredMatrices {
  Weights elements;
  QuantizedWeights codes;  // where there are codes, in place of elements
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

// The tile's readers have a Raw, what a lane reads in a step; `ahead`, the steps whose reads are under
// way at a time; read(lane, step), zero beyond the weight's end; and widen(raw, lane weights).

template <class Element>
struct FloatTile {
  static constexpr int ahead = 1;
  struct Raw {
    Element v[kLaneRows][kLaneInputs];
  };

  const Element* first;
  int64_t width;
  int rows;
  bool aligned;  // every lane's inputs of a row

  DELTAPORT_INLINE FloatTile(const StoredMatrices& weights, const TilePlace& place)
      : first(static_cast<const Element*>(weights.elements.data) + place.first_row * place.width),
        width(place.width), rows(place.rows),
        aligned(reinterpret_cast<uintptr_t>(first) % 16 == 0 && width % kLaneInputs == 0) {}

  DELTAPORT_INLINE Raw read(int lane, int64_t step) const {
    const int64_t input = step * kStepInputs + lane_input(lane);
    Raw raw = {};
    DELTAPORT_UNROLL
    for (int r = 0; r < kLaneRows; ++r) {
      const int row = lane_row(lane) + r;
      if (row >= rows || input >= width) continue;
      const Element* from = first + row * width + input;
      if (aligned) {
        constexpr int kPerRead = 16 / sizeof(Element);
        DELTAPORT_UNROLL
        for (int i = 0; i < kLaneInputs; i += kPerRead) {
          const Words<4> words = read_words<4>(from + i);
          memcpy(raw.v[r] + i, &words, sizeof words);
        }
      } else {
        DELTAPORT_UNROLL
        for (int i = 0; i < kLaneInputs; ++i) {
          if (input + i < width) raw.v[r][i] = from[i];
        }
      }
    }
    return raw;
  }

  DELTAPORT_INLINE static void widen(const Raw& raw, LaneWeights* to) {
    DELTAPORT_UNROLL
    for (int r = 0; r < kLaneRows; ++r) {
      DELTAPORT_UNROLL
      for (int i = 0; i < kLaneInputs; ++i) to->w[r][i] = as_float(raw.v[r][i]);
    }
  }
};

template <int bits>
struct CodeTile {
  static constexpr int ahead = 16 / bits;
  static constexpr int reads = bits / 4;     // of 16 bytes, a lane's of a step
  static constexpr int chunk = 32 / bits;    // inputs
  static constexpr float zero = 1 << (bits - 1);
  struct Raw {
    Words<4> codes[reads];
    Words<2> scales, offsets;
  };

  QuantizedWeights tile;

  DELTAPORT_INLINE CodeTile(const StoredMatrices& weights, const TilePlace& place)
      : tile(weights.codes) {
    const int64_t blocks = tile.groups / tile.block_groups;
    tile.codes += place.tile * tile.groups * bits * 64;
    tile.scales += place.tile * blocks * (tile.has_offsets ? 2 : 1) * kTileRows;
  }

  DELTAPORT_INLINE Raw read(int lane, int64_t step) const {
    const int64_t input = step * kStepInputs + lane_input(lane);
    const auto group = static_cast<uint32_t>(input / kGroupInputs);
    Raw raw = {};
    if (group >= tile.groups) return raw;
    DELTAPORT_UNROLL
    for (int i = 0; i < reads; ++i) {
      raw.codes[i] = read_words<4>(tile.codes + (input / chunk + i) * 64 + lane % 4 * 16);
    }
    const uint32_t block = group / static_cast<uint32_t>(tile.block_groups);
    const BFloat16* scales = tile.scales + block * (tile.has_offsets ? 2 : 1) * kTileRows;
    raw.scales = read_words<2>(scales + lane_row(lane));
    if (tile.has_offsets) raw.offsets = read_words<2>(scales + kTileRows + lane_row(lane));
    return raw;
  }

  DELTAPORT_INLINE static float bfloat16_of(const Words<2>& words, int i) {
    return as_float(BFloat16{static_cast<uint16_t>(words.v[i / 2] >> i % 2 * 16)});
  }
  // A whole number below 2^23 put into the fraction of 2^23: quicker than a GPU converts it.
  DELTAPORT_INLINE static float whole(uint32_t code) {
    const uint32_t word = 0x4B000000 | code;
    float value;
    memcpy(&value, &word, sizeof value);
    return value - (8388608.0f + zero);
  }

  DELTAPORT_INLINE static void widen(const Raw& raw, LaneWeights* to) {
    DELTAPORT_UNROLL
    for (int r = 0; r < kLaneRows; ++r) {
      const float scale = bfloat16_of(raw.scales, r), offset = bfloat16_of(raw.offsets, r);
      DELTAPORT_UNROLL
      for (int i = 0; i < kLaneInputs; ++i) {
        // The second four inputs are the next chunk, or the high nibbles.
        const uint32_t word = raw.codes[i / chunk].v[r];
        const int shift = i % 4 * 8 + (bits == 4 ? i / 4 * 4 : 0);
        const float code = whole(word >> shift & ((1 << bits) - 1));
        to->w[r][i] = fmaf(scale, code, offset);
      }
    }
  }
};

// body(reader) for the tile as it is stored.
template <class Body>
DELTAPORT_INLINE void with_tile(const StoredMatrices& weights, const TilePlace& place,
                                const Body& body) {
  if (weights.codes.codes != nullptr) {
    if (weights.codes.bits == 4) return body(CodeTile<4>(weights, place));
    return body(CodeTile<8>(weights, place));
  }
  switch (weights.elements.type) {
    case ElementType::kFloat16:
      return body(FloatTile<Float16>(weights, place));
    case ElementType::kBFloat16:
      return body(FloatTile<BFloat16>(weights, place));
    default:
      return body(FloatTile<float>(weights, place));
  }
}

}  // namespace deltaport::DELTAPORT_ISA
