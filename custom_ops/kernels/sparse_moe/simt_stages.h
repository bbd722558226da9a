// The stages of a mixture in their order, and how many blocks of threads each has: for GPUs, where
// a stage is a kernel, as for the host.
//
// A stage has `threads`, a Shared, and run(team, step, shared, x, y), where x and y number a block.
#pragma once

#include "kernels/sparse_moe/simt_combine.h"
#include "kernels/sparse_moe/simt_group.h"
#include "kernels/sparse_moe/simt_products.h"
#include "kernels/sparse_moe/simt_route.h"

namespace deltaport::DELTAPORT_ISA {

struct RouteStage {
  static constexpr int threads = kRouteThreads;
  using Shared = RouteShared;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const MoEStep& step, Shared& shared, int64_t x,
                                   int64_t) {
    Route<Team>{team, step, shared, x}.run();
  }
};

struct GroupStage {
  static constexpr int threads = kGroupThreads;
  using Shared = GroupShared;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const MoEStep& step, Shared& shared, int64_t,
                                   int64_t) {
    Group<Team>{team, step, shared}.run();
  }
};

template <Product product, int pairs>
struct ProductStage {
  static constexpr int threads = kProductThreads;
  using Shared = ProductShared<pairs>;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const MoEStep& step, Shared& shared, int64_t x,
                                   int64_t y) {
    if (x >= *step.tile_count) return;
    ExpertProduct<product, pairs, Team>{team, step, shared, step.tiles[x], y}.run();
  }
};

struct CombineStage {
  static constexpr int threads = kCombineThreads;
  struct Shared {};
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const MoEStep& step, Shared&, int64_t x,
                                   int64_t y) {
    Combine<Team>{team, step, x, y}.run();
  }
};

// launch.template operator()<Stage>(step, blocks x, blocks y) for all stages of a step.
template <class Launch>
void each_stage(const MoEStep& step, const Launch& launch) {
  const MoEArgs& args = step.args;
  const auto blocks = [](int64_t n, int64_t of) { return (n + of - 1) / of; };
  const int64_t inner = args.inner > args.shared_inner ? args.inner : args.shared_inner;
  const auto products = [&]<int pairs>() {
    launch.template operator()<ProductStage<Product::kInner, pairs>>(
        step, step.most_tiles(), blocks(inner, kProductRows / 2));
    launch.template operator()<ProductStage<Product::kOut, pairs>>(
        step, step.most_tiles(), blocks(args.hidden, kProductRows));
  };
  launch.template operator()<RouteStage>(step, step.chunks(), 1);
  launch.template operator()<GroupStage>(step, 1, 1);
  if (step.tile_pairs == kFewPairs) {
    products.template operator()<kFewPairs>();
  } else {
    products.template operator()<kManyPairs>();
  }
  launch.template operator()<CombineStage>(step, step.tokens, blocks(args.hidden, kCombineThreads));
}

// The same for all tokens. The steps use the same memory, one after another.
template <class Launch>
void each_moe_stage(const MoEArgs& args, void* workspace, const Launch& launch) {
  const int64_t all = args.rows * args.tokens;
  for (int64_t begin = 0; begin < all; begin += kMoEStepTokens) {
    const int64_t tokens = all - begin < kMoEStepTokens ? all - begin : kMoEStepTokens;
    MoEMemory memory{static_cast<char*>(workspace)};
    each_stage(moe_step(args, begin, tokens, &memory), launch);
  }
}

// Bytes of the workspace, which lies on a multiple of 16: enough for fewer tokens, too.
inline int64_t moe_workspace_bytes(const MoEArgs& args) {
  const int64_t all = args.rows * args.tokens;
  const int64_t tokens = all < kMoEStepTokens ? all : kMoEStepTokens;
  MoEMemory memory{nullptr};
  moe_step(args, 0, tokens, &memory);
  return 4 * memory.words;
}

}  // namespace deltaport::DELTAPORT_ISA
