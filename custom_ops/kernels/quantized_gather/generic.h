// Written without vectors: a token's row is a few thousand bytes.
#pragma once

#include "kernels/parallel.h"
#include "kernels/quantized_gather/quantized_gather.h"
#include "simd/vec.h"

namespace deltaport::DELTAPORT_ISA {

inline void gather_row(const QuantizedGatherArgs& args, int64_t token) {
  const QuantizedWeights& w = args.weight;
  const int64_t tile = args.ids[token] / kTileOutputs, row = args.ids[token] % kTileOutputs;
  const uint8_t* codes = w.codes + tile * w.tile_bytes() + 4 * row;
  const BFloat16* scales = w.scales + tile * w.tile_scales() + row;
  const int64_t numbers = w.has_offsets ? 2 : 1;
  const int zero = 1 << (w.bits - 1), mask = 2 * zero - 1;
  float* y = args.y + token * args.width;
  for (int64_t k = 0; k < args.width; ++k) {
    const int64_t group = k / kGroupInputs, step = k % kGroupInputs / 4;
    const int64_t chunk = w.bits == 8 ? step : step / 2, shift = w.bits == 8 ? 0 : step % 2 * 4;
    const int stored = codes[(group * w.bits + chunk) * 64 + k % 4] >> shift & mask;
    const BFloat16* block = scales + group / w.block_groups * numbers * kTileOutputs;
    y[k] = static_cast<float>(stored - zero) * as_float(block[0]);
    if (w.has_offsets) y[k] += as_float(block[kTileOutputs]);
  }
}

inline void quantized_gather(const QuantizedGatherArgs& args, const Parallel& parallel) {
  constexpr int64_t kShare = 16;  // tokens of a task
  parallel(round_up(args.tokens, kShare) / kShare, [&](size_t i) {
    const int64_t begin = static_cast<int64_t>(i) * kShare;
    for (int64_t t = begin; t < min_of(begin + kShare, args.tokens); ++t) gather_row(args, t);
  });
}

}  // namespace deltaport::DELTAPORT_ISA
