// y of a token: the weighted outputs of its pairs, ascending by expert, the shared one last.
#pragma once

#include "kernels/sparse_moe/simt_moe.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int kCombineThreads = 128;

// Elements [kCombineThreads * block, ...) of token t of a step.
template <class Team>
struct Combine {
  const Team& team;
  const MoEStep& step;
  int64_t t, block;

  DELTAPORT_INLINE void run() const {
    team.each([&](int thread) {
      const int64_t c = block * kCombineThreads + thread, hidden = step.args.hidden;
      if (c >= hidden) return;
      float y = 0;  // of padding
      for (int64_t i = t * step.slots; i < (t + 1) * step.slots; ++i) {
        const int64_t pair = step.pair_of[i];
        if (pair >= 0) y = fmaf(step.weight[i], step.out[pair * hidden + c], y);
      }
      store_at(step.args.y, step.args.x.type, (step.begin + t) * hidden + c, y);
    });
  }
};

}  // namespace deltaport::DELTAPORT_ISA
