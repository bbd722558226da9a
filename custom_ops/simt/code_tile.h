// A tile of weights that are stored as codes, in the layout of quantized_weights.h. Each is made a
// weight, scale * (code - zero) + offset, and multiplied with activations as these are: other than
// on CPUs, activations are not rounded to int8 first.
#pragma once

#include "simt/tile_place.h"

namespace deltaport::DELTAPORT_ISA {

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

}  // namespace deltaport::DELTAPORT_ISA
