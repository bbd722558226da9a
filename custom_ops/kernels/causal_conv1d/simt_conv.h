// Causal convolution over time with SiLU: a thread takes a channel of a row, or of a stretch of its
// tokens, whose last inputs it keeps in registers.
#pragma once

#include "simd/math.h"
#include "simt/lengths.h"
#include "simt/narrow.h"
#include "simt/team.h"

namespace deltaport::DELTAPORT_ISA {

// As CausalConv1dArgs, with inputs and outputs of any type. The state has it too, and loses nothing:
// it is inputs as they came.
template <class Element>
struct ConvArgs {
  int64_t rows, tokens, channels, taps;  // taps 2 to 4
  const Element *x, *weight, *state;
  const int64_t* lengths;
  Element *y, *new_state;  // new_state may be the memory of state
};

constexpr int kConvThreads = 128;
constexpr int64_t kConvTokens = 64;  // of a stretch

// Channels [kConvThreads * block, ...) and tokens [kConvTokens * stretch, ...) of a row. The first
// stretch alone reads the state before it writes the new one.
template <class Element, int taps, class Team>
struct Convolution {
  static constexpr int kept = taps - 1;  // tokens of the state

  const Team& team;
  const ConvArgs<Element>& args;
  int64_t row, block, stretch;

  DELTAPORT_INLINE Element input(int64_t t, int64_t channel) const {
    if (t < 0) {
      return args.state[(row * kept + kept + t) * args.channels + channel];
    }
    return args.x[(row * args.tokens + t) * args.channels + channel];
  }

  DELTAPORT_INLINE void run_channel(int64_t channel) const {
    const int64_t first = stretch * kConvTokens;
    const int64_t length = real_tokens(args.lengths, row, args.tokens);
    const int64_t end = first + kConvTokens < args.tokens ? first + kConvTokens : args.tokens;
    Element past[kept];
    float weight[taps], window[taps];
    DELTAPORT_UNROLL
    for (int j = 0; j < taps; ++j) weight[j] = as_float(args.weight[channel * taps + j]);
    DELTAPORT_UNROLL
    for (int j = 0; j < kept; ++j) {
      const bool is_read = first < length || first == 0;
      past[j] = is_read ? input(first - kept + j, channel) : Element{};
      window[j] = as_float(past[j]);
    }
    if (stretch == 0) keep_last(channel, past);
    for (int64_t t = first; t < end; ++t) {
      Element* y = args.y + (row * args.tokens + t) * args.channels + channel;
      if (t >= length) {
        narrow(0.0f, y);
        continue;
      }
      window[kept] = as_float(input(t, channel));
      float sum = 0;
      DELTAPORT_UNROLL
      for (int j = 0; j < taps; ++j) sum = fmaf(window[j], weight[j], sum);
      narrow(silu(Vec::all(sum)).v, y);
      DELTAPORT_UNROLL
      for (int j = 0; j < kept; ++j) window[j] = window[j + 1];
    }
  }

  // The new state: the last inputs, some of which may be `past`, those before the first token.
  DELTAPORT_INLINE void keep_last(int64_t channel, const Element (&past)[kept]) const {
    const int64_t length = real_tokens(args.lengths, row, args.tokens);
    DELTAPORT_UNROLL
    for (int j = 0; j < kept; ++j) {
      Element value = past[j];  // without a token
      if (length + j >= kept) value = input(length - kept + j, channel);
      DELTAPORT_UNROLL
      for (int i = j + 1; i < kept; ++i) {
        if (length == i - j) value = past[i];
      }
      args.new_state[(row * kept + j) * args.channels + channel] = value;
    }
  }

  DELTAPORT_INLINE void run() const {
    team.each([&](int thread) {
      const int64_t channel = block * kConvThreads + thread;
      if (channel < args.channels) run_channel(channel);
    });
  }
};

// launch.template operator()<taps>(), and whether there is a kernel of so many.
template <class Launch>
bool with_taps(int64_t taps, const Launch& launch) {
  switch (taps) {
    case 2:
      return launch.template operator()<2>(), true;
    case 3:
      return launch.template operator()<3>(), true;
    case 4:
      return launch.template operator()<4>(), true;
    default:
      return false;
  }
}

}  // namespace deltaport::DELTAPORT_ISA
