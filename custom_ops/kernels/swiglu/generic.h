// The vector body.
#pragma once

#include "kernels/parallel.h"
#include "kernels/swiglu/swiglu.h"
#include "simd/math.h"

namespace deltaport::DELTAPORT_ISA {

// y = silu(gate) * up
inline void swiglu_token(const float* gate, const float* up, int64_t inner, float* y) {
  for_each_vector(inner, [&](int64_t c, int n) {
    store_n(y + c, silu(load_n(gate + c, n)) * load_n(up + c, n), n);
  });
}

inline void swiglu(const SwiGLUArgs& args, const Parallel& parallel) {
  constexpr int64_t kTokens = 8;  // of a task: enough work to be worth handing over
  parallel(round_up(args.tokens, kTokens) / kTokens, [&](size_t i) {
    const int64_t begin = static_cast<int64_t>(i) * kTokens;
    for (int64_t t = begin; t < min_of(begin + kTokens, args.tokens); ++t) {
      const float* gate = args.gate_up + t * 2 * args.inner;
      swiglu_token(gate, gate + args.inner, args.inner, args.y + t * args.inner);
    }
  });
}

}  // namespace deltaport::DELTAPORT_ISA
