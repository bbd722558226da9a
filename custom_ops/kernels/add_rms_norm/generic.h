// The vector body.
#pragma once

#include "kernels/add_rms_norm/add_rms_norm.h"
#include "kernels/parallel.h"
#include "simd/vec.h"

namespace deltaport::DELTAPORT_ISA {

inline void add_rms_norm_token(const AddRMSNormArgs& args, int64_t token) {
  const int64_t at = token * args.hidden;
  Vec squares = Vec::zero();
  for_each_vector(args.hidden, [&](int64_t c, int n) {
    const Vec total = load_n(args.x + at + c, n) + load_n(args.residual + at + c, n);
    store_n(args.sum + at + c, total, n);
    squares = fmadd(total, total, squares);
  });
  const float mean = sum(squares) / static_cast<float>(args.hidden);
  const Vec inverse = Vec::all(1.0f / __builtin_sqrtf(mean + args.norm_eps));
  for_each_vector(args.hidden, [&](int64_t c, int n) {
    store_n(args.y + at + c, load_n(args.sum + at + c, n) * inverse * load_n(args.scale + c, n), n);
  });
}

inline void add_rms_norm(const AddRMSNormArgs& args, const Parallel& parallel) {
  constexpr int64_t kTokens = 16;  // of a task: enough work to be worth handing over
  parallel(round_up(args.tokens, kTokens) / kTokens, [&](size_t i) {
    const int64_t begin = static_cast<int64_t>(i) * kTokens;
    for (int64_t t = begin; t < min_of(begin + kTokens, args.tokens); ++t) {
      add_rms_norm_token(args, t);
    }
  });
}

}  // namespace deltaport::DELTAPORT_ISA
