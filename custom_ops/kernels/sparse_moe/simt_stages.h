// The stages of a mixture in their order, and how many blocks of threads each has: for GPUs, where
// a stage is a kernel, as for the host.
//
// A stage is a kernel of launch.h, whose arguments are a step.
#pragma once

#include "kernels/sparse_moe/simt_combine.h"
#include "kernels/sparse_moe/simt_group.h"
#include "kernels/sparse_moe/simt_products.h"
#include "kernels/sparse_moe/simt_route.h"
#include "simt/launch.h"

namespace deltaport::DELTAPORT_ISA {

struct RouteStage {
  static constexpr int threads = kRouteThreads;
  using Shared = RouteShared;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const MoEStep& step, Shared& shared,
                                   const Blocks& block) {
    Route<Team>{team, step, shared, block.x}.run();
  }
};

struct GroupStage {
  static constexpr int threads = kGroupThreads;
  using Shared = GroupShared;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const MoEStep& step, Shared& shared,
                                   const Blocks&) {
    Group<Team>{team, step, shared}.run();
  }
};

template <Product product, int pairs>
struct ProductStage {
  static constexpr int threads = kProductThreads;
  using Shared = ProductShared<pairs>;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const MoEStep& step, Shared& shared,
                                   const Blocks& block) {
    if (block.x >= *step.tile_count) return;
    ExpertProduct<product, pairs, Team>{team, step, shared, step.tiles[block.x], block.y}.run();
  }
};

struct CombineStage {
  static constexpr int threads = kCombineThreads;
  using Shared = NothingShared;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const MoEStep& step, Shared&,
                                   const Blocks& block) {
    Combine<Team>{team, step, block.x, block.y}.run();
  }
};

// launch.template operator()<Stage>(step, blocks) for all stages of a step.
template <class Launch>
void each_stage(const MoEStep& step, const Launch& launch) {
  const MoEArgs& args = step.args;
  const int64_t inner = args.inner > args.shared_inner ? args.inner : args.shared_inner;
  const auto products = [&]<int pairs>() {
    launch.template operator()<ProductStage<Product::kInner, pairs>>(
        step, Blocks{step.most_tiles(), blocks_of(inner, kProductRows / 2)});
    launch.template operator()<ProductStage<Product::kOut, pairs>>(
        step, Blocks{step.most_tiles(), blocks_of(args.hidden, kProductRows)});
  };
  launch.template operator()<RouteStage>(step, Blocks{step.chunks()});
  launch.template operator()<GroupStage>(step, Blocks{});
  if (step.tile_pairs == kFewPairs) {
    products.template operator()<kFewPairs>();
  } else {
    products.template operator()<kManyPairs>();
  }
  launch.template operator()<CombineStage>(
      step, Blocks{step.tokens, blocks_of(args.hidden, kCombineThreads)});
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
