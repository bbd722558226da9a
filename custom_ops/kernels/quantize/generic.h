// Tasks are tiles of rows.
#pragma once

#include "kernels/parallel.h"
#include "kernels/quantize/search.h"

namespace deltaport::DELTAPORT_ISA {

// A block of a row, scaled by a power of two so that its squares fit a float: 1 <= largest < 2.
struct ScaledBlock {
  float values[kLargestBlock] = {};
  float power = 1;  // of two, that the values are to be multiplied with

  // Of `some` values; up to `padded` they are repeated, the rest is zero.
  ScaledBlock(const float* from, int64_t some, int64_t padded) {
    uint32_t most = 0;  // as integers, magnitudes are in order
    for (int64_t k = 0; k < some; ++k) {
      uint32_t bits;
      memcpy(&bits, from + k, sizeof bits);
      bits &= 0x7FFFFFFF;
      most = bits > most ? bits : most;
    }
    const uint32_t exponent = most >> 23;
    if (exponent < 24) return;  // below 1e-31: zero
    const auto power_of_two = [](uint32_t field) {
      const uint32_t bits = field << 23;
      float value;
      memcpy(&value, &bits, sizeof value);
      return value;
    };
    power = power_of_two(exponent);
    // By two factors, of which each is a normal number.
    const uint32_t down = 254 - exponent + 127, half = down / 2;
    const float first = power_of_two(half), second = power_of_two(down - half);
    for (int64_t k = 0; k < some; ++k) values[k] = from[k] * first * second;
    // What a block is padded with meets activations of zero, and zeros would draw an offset to them.
    for (int64_t k = some; k < padded; ++k) values[k] = values[k - some];
  }
};

// One row's block: its codes go to their places in the groups of a tile from `groups` on.
inline void write_codes(const float* values, int64_t size, int bits, Scaling scaling, int64_t row,
                        uint8_t* groups) {
  const CodeRange range = code_range(bits);
  const float inverse = scaling.scale == 0 ? 0.0f : 1.0f / scaling.scale;
  const int zero = 1 << (bits - 1);
  for (int64_t k = 0; k < size; ++k) {
    const float code = code_of(values[k], scaling.offset, inverse, range);
    const uint8_t stored = static_cast<uint8_t>(static_cast<int>(code) + zero);
    const int64_t in_group = k % kGroupInputs, step = in_group / 4;
    uint8_t* group = groups + k / kGroupInputs * bits * 64 + 4 * row + in_group % 4;
    if (bits == 8) {
      group[64 * step] = stored;
    } else if (step % 2 == 0) {
      group[64 * (step / 2)] = stored;
    } else {
      group[64 * (step / 2)] |= static_cast<uint8_t>(stored << 4);
    }
  }
}

inline void quantize_tile(const QuantizeArgs& args, int64_t tile) {
  const int64_t blocks = round_up(args.inputs, args.block) / args.block;
  const int64_t groups = args.block / kGroupInputs, numbers = args.offsets ? 2 : 1;
  const int64_t block_bytes = groups * args.bits * 64;
  for (int64_t row = 0; row < kTileOutputs; ++row) {
    const int64_t n = tile * kTileOutputs + row;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t begin = b * args.block;
      const int64_t some = n < args.rows ? min_of(args.block, args.inputs - begin) : 0;
      const ScaledBlock block(args.values + n * args.inputs + begin, some,
                              args.offsets ? args.block : some);
      const Scaling scaling = search_scaling(block.values, args.block, args.bits, args.offsets);
      BFloat16* out = args.scales + (tile * blocks + b) * numbers * kTileOutputs + row;
      out[0] = {bfloat16_bits(scaling.scale * block.power)};
      if (args.offsets) out[kTileOutputs] = {bfloat16_bits(scaling.offset * block.power)};
      write_codes(block.values, args.block, args.bits, scaling, row,
                  args.codes + (tile * blocks + b) * block_bytes);
    }
  }
}

inline void quantize(const QuantizeArgs& args, const Parallel& parallel) {
  const int64_t tiles = round_up(args.rows, kTileOutputs) / kTileOutputs;
  parallel(tiles, [&](size_t i) { quantize_tile(args, static_cast<int64_t>(i)); });
}

}  // namespace deltaport::DELTAPORT_ISA
