// The vector body: blocks of channels run through the tokens of a row, so that the window of the
// last inputs stays in the first-level cache.
#pragma once

#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/parallel.h"
#include "kernels/scratch.h"
#include "simd/math.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int64_t kConvChannels = 512;

// taps[j, c] = weight[c, j]
template <class Element>
void load_taps(const Element* weight, int64_t channels, int64_t n_taps, float* taps) {
  int64_t c = 0;
  if constexpr (sizeof(Element) == sizeof(float)) {
    for (; n_taps == 4 && c + Vec::width <= channels; c += Vec::width) {
      Vec tap[4];
      load_deinterleaved4(weight + c * 4, tap);
      for (int j = 0; j < 4; ++j) store(taps + j * kConvChannels + c, tap[j]);
    }
  }
  for (; c < channels; ++c) {
    for (int64_t j = 0; j < n_taps; ++j) {
      taps[j * kConvChannels + c] = as_float(weight[c * n_taps + j]);
    }
  }
}

// y = silu(sum over j of taps[j] * window[j]) for one token.
template <class Window>
void convolve_token(int64_t channels, int64_t n_taps, const float* taps, Window window, float* y) {
  for_each_vector(channels, [&](int64_t c, int n) {
    Vec sum = Vec::zero();
    for (int64_t j = 0; j < n_taps; ++j) {
      sum = fmadd(load_n(window(j) + c, n), load(taps + j * kConvChannels + c), sum);
    }
    store_n(y + c, silu(sum), n);
  });
}

inline void convolve_block(const CausalConv1dArgs& args, int64_t row, int64_t first) {
  const int64_t stride = args.channels, kept = args.taps - 1;
  const int64_t channels = min_of(kConvChannels, args.channels - first);
  const int64_t length = args.lengths[row];
  float* taps = thread_scratch((2 * args.taps) * kConvChannels);
  float* past = taps + args.taps * kConvChannels;  // a copy, for new_state may be state
  zero_floats(taps, args.taps * kConvChannels);
  visit(args.weight,
        [&](auto* weight) { load_taps(weight + first * args.taps, channels, args.taps, taps); });
  const float* x = args.x + row * args.tokens * stride + first;
  const float* state = args.state + row * kept * stride + first;
  for (int64_t j = 0; j < kept; ++j) copy_floats(past + j * kConvChannels, state + j * stride, channels);
  const auto input = [&](int64_t t) {
    return t < 0 ? past + (kept + t) * kConvChannels : x + t * stride;
  };
  float* y = args.y + row * args.tokens * stride + first;
  for (int64_t t = 0; t < length; ++t) {
    const auto window = [&](int64_t j) { return input(t - kept + j); };
    if (args.taps == 4) {
      convolve_token(channels, 4, taps, window, y + t * stride);
    } else {
      convolve_token(channels, args.taps, taps, window, y + t * stride);
    }
  }
  for (int64_t t = length; t < args.tokens; ++t) zero_floats(y + t * stride, channels);
  float* new_state = args.new_state + row * kept * stride + first;
  for (int64_t j = 0; j < kept; ++j) {
    copy_floats(new_state + j * stride, input(length - kept + j), channels);
  }
}

inline void causal_conv1d(const CausalConv1dArgs& args, const Parallel& parallel) {
  const int64_t blocks = round_up(args.channels, kConvChannels) / kConvChannels;
  parallel(args.rows * blocks, [&](size_t i) {
    convolve_block(args, i / blocks, i % blocks * kConvChannels);
  });
}

}  // namespace deltaport::DELTAPORT_ISA
