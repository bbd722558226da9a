// Pairs of tokens and experts grouped by expert, by one block of threads: a counting sort whose
// counts are the masks of simt_route.h, so that a pair's place follows from its token alone.
#pragma once

#include "kernels/sparse_moe/simt_moe.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int kGroupThreads = 512;

struct GroupSums {
  int32_t pairs, tiles;
};

struct GroupShared {
  // Of each expert and those before it; two, between which a scan goes back and forth.
  GroupSums sums[2][kMostExperts + 1];
};

DELTAPORT_INLINE int count_bits(uint32_t word) {
#if defined(__CUDA_ARCH__)
  return __popc(word);
#else
  return __builtin_popcount(word);
#endif
}

template <class Team>
struct Group {
  const Team& team;
  const MoEStep& step;
  GroupShared& shared;
  int now = 0;  // which of the two holds the sums

  static constexpr int kMaskBits = 16;
  static_assert(kRouteTokens <= kMaskBits && kMoEStepTokens < 1 << (32 - kMaskBits));

  template <class Body>
  DELTAPORT_INLINE void each_expert(const Body& body) {
    team.each([&](int thread) {
      for (int64_t e = thread; e <= step.args.experts; e += Team::threads) body(e);
    });
  }

  // A mask keeps its bits and gets, above them, how many tokens the expert has in chunks before.
  DELTAPORT_INLINE void count() {
    constexpr int kAhead = 8;  // reads under way at a time
    const int64_t chunks = step.chunks(), stride = step.args.experts + 1;
    each_expert([&](int64_t e) {
      int32_t total = 0;
      for (int64_t begin = 0; begin < chunks; begin += kAhead) {
        uint32_t masks[kAhead];
        DELTAPORT_UNROLL
        for (int i = 0; i < kAhead; ++i) {
          masks[i] = begin + i < chunks ? step.masks[(begin + i) * stride + e] : 0;
        }
        DELTAPORT_UNROLL
        for (int i = 0; i < kAhead; ++i) {
          if (begin + i >= chunks) continue;
          const uint32_t before = static_cast<uint32_t>(total) << kMaskBits;
          step.masks[(begin + i) * stride + e] = masks[i] | before;
          total += count_bits(masks[i]);
        }
      }
      shared.sums[0][e] = {total, (total + step.tile_pairs - 1) / step.tile_pairs};
    });
  }

  // Sums over each expert and those before it, in steps twice as wide each time (Hillis and Steele,
  // Data parallel algorithms, 1986).
  DELTAPORT_INLINE void scan() {
    for (int64_t width = 1; width <= step.args.experts; width *= 2) {
      each_expert([&](int64_t e) {
        const GroupSums own = shared.sums[now][e];
        const GroupSums other = e >= width ? shared.sums[now][e - width] : GroupSums{0, 0};
        shared.sums[1 - now][e] = {own.pairs + other.pairs, own.tiles + other.tiles};
      });
      now = 1 - now;
    }
  }

  DELTAPORT_INLINE GroupSums before(int64_t e) const {
    return e > 0 ? shared.sums[now][e - 1] : GroupSums{0, 0};
  }

  DELTAPORT_INLINE void list_tiles() {
    each_expert([&](int64_t e) {
      const GroupSums sums = before(e);
      const int32_t end = shared.sums[now][e].pairs;
      step.first[e + 1] = end;
      if (e == 0) step.first[0] = 0;
      if (e == step.args.experts) *step.tile_count = shared.sums[now][e].tiles;
      int32_t tile = sums.tiles;
      for (int32_t pair = sums.pairs; pair < end; pair += step.tile_pairs, ++tile) {
        const int32_t rest = end - pair;
        const int32_t count = rest < step.tile_pairs ? rest : step.tile_pairs;
        step.tiles[tile] = {static_cast<int32_t>(e), pair, count};
      }
    });
  }

  DELTAPORT_INLINE void place_pairs() {
    team.each([&](int thread) {
      for (int64_t i = thread; i < step.tokens * step.slots; i += Team::threads) {
        const int64_t token = i / step.slots, chunk = token / kRouteTokens;
        const int32_t e = step.expert_of[i];
        int32_t pair = -1;
        if (e >= 0) {
          const uint32_t mask = step.masks[chunk * (step.args.experts + 1) + e];
          const uint32_t tokens_before = (1u << token % kRouteTokens) - 1;
          pair = before(e).pairs + static_cast<int32_t>(mask >> kMaskBits) +
                 count_bits(mask & tokens_before);
          step.pair_token[pair] = static_cast<int32_t>(token);
        }
        step.pair_of[i] = pair;
      }
    });
  }

  DELTAPORT_INLINE void run() {
    count();
    scan();
    list_tiles();
    place_pairs();
  }
};

}  // namespace deltaport::DELTAPORT_ISA
