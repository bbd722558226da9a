// A sparse mixture of experts on a GPU: what its stages share. The maths is that of SparseMoE,
// SharedExpertMoE and their quantized kin, but that activations are never rounded to int8.
//
// A step of tokens goes through five stages, each a kernel: tokens are routed (simt_route.h),
// pairs of a token and an expert are grouped by expert (simt_group.h), inner activations and
// outputs of pairs are computed (simt_products.h) and summed up by token (simt_combine.h). Nothing
// depends on which thread comes first, and a token's sums have the same order whoever else is in
// the batch.
#pragma once

#include "simd/math.h"
#include "simt/team.h"
#include "simt/weight_tile.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int kMostExperts = 1024, kMostTopK = 16;
constexpr int kRouteTokens = 16;          // of a block of threads: those of a mask
constexpr int64_t kMoEStepTokens = 1024;  // of a step: bounds the memory for a long prompt

// As SparseMoEArgs and QuantizedMoEArgs, with activations and weights of any type. Where there is
// no shared expert shared_inner is 0.
struct MoEArgs {
  int64_t rows, tokens, hidden, experts, inner, top_k, shared_inner;
  Weights x;              // [rows, tokens, hidden]
  Weights router_logits;  // [rows, tokens, experts]
  const int64_t* lengths;
  StoredMatrices gate_up, down;  // of codes, gate rows and up rows are padded to whole tiles each
  Weights shared_gate;
  StoredMatrices shared_gate_up, shared_down;
  void* y;  // [rows, tokens, hidden], of x's type
};

// Pairs of one expert that are multiplied together, so that its weights are read once for all.
struct WorkTile {
  int32_t expert, first, count;
};

// Pairs of a work tile: few where weights are read for hardly more than one, as in decode.
constexpr int kFewPairs = 4, kManyPairs = 16;

// Tokens [begin, begin + tokens) of all, padding included, and their memory. The shared expert
// counts as expert number `experts` and has the last of a token's `slots`.
struct MoEStep {
  MoEArgs args;
  int64_t begin, tokens, slots;
  int tile_pairs;
  float* inner;         // [pairs, inner of the expert], those of the shared one last
  float* out;           // [pairs, hidden]
  float* weight;        // [tokens, slots]
  int32_t* expert_of;   // [tokens, slots], ascending; -1 where the token is padding
  int32_t* pair_of;     // [tokens, slots], likewise
  int32_t* pair_token;  // [pairs], of the step
  int32_t* first;       // [experts + 2]: expert e has the pairs [first[e], first[e + 1])
  uint32_t* masks;      // [chunks, experts + 1], see simt_route.h
  int32_t* tile_count;
  WorkTile* tiles;

  DELTAPORT_INLINE int64_t chunks() const { return (tokens + kRouteTokens - 1) / kRouteTokens; }
  DELTAPORT_INLINE bool is_real(int64_t t) const {
    if (t >= tokens) return false;
    return (begin + t) % args.tokens < args.lengths[(begin + t) / args.tokens];
  }
  DELTAPORT_INLINE int64_t width_inside(int64_t expert) const {
    return expert == args.experts ? args.shared_inner : args.inner;
  }
  // Inner activations of a pair of an expert.
  DELTAPORT_INLINE float* inner_of(int64_t expert, int64_t pair) const {
    const int64_t routed = expert == args.experts ? first[args.experts] : pair;
    return inner + routed * args.inner + (pair - routed) * args.shared_inner;
  }
  // What there may be at most: every expert's last tile may have a single pair.
  int64_t most_tiles() const { return most_tiles_of(tile_pairs); }
  int64_t most_tiles_of(int count) const {
    const int64_t pairs = tokens * slots, tiles = pairs / count + args.experts + 1;
    return tiles < pairs ? tiles : pairs;
  }
};

// The memory of a step, cut from `memory`, whose size it counts in words; null to count alone.
struct MoEMemory {
  char* memory;
  int64_t words = 0;

  template <class Value>
  Value* take(int64_t count) {
    // No pointer is null and further: that is undefined even where nobody reads it.
    Value* taken = memory == nullptr ? nullptr : reinterpret_cast<Value*>(memory + 4 * words);
    words += (count * static_cast<int64_t>(sizeof(Value)) + 15) / 16 * 4;
    return taken;
  }
};

inline MoEStep moe_step(const MoEArgs& args, int64_t begin, int64_t tokens, MoEMemory* memory) {
  MoEStep step{};
  step.args = args;
  step.begin = begin;
  step.tokens = tokens;
  step.slots = args.top_k + (args.shared_inner > 0 ? 1 : 0);
  const int64_t pairs = tokens * step.slots;
  const bool many = tokens * args.top_k > kFewPairs * args.experts;
  step.tile_pairs = many ? kManyPairs : kFewPairs;
  step.inner = memory->take<float>(tokens * (args.top_k * args.inner + args.shared_inner));
  step.out = memory->take<float>(pairs * args.hidden);
  step.weight = memory->take<float>(pairs);
  step.expert_of = memory->take<int32_t>(pairs);
  step.pair_of = memory->take<int32_t>(pairs);
  step.pair_token = memory->take<int32_t>(pairs);
  step.first = memory->take<int32_t>(args.experts + 2);
  step.masks = memory->take<uint32_t>(step.chunks() * (args.experts + 1));
  step.tile_count = memory->take<int32_t>(1);
  // As if all tiles were small, or a few tokens could need more memory than many.
  step.tiles = memory->take<WorkTile>(step.most_tiles_of(kFewPairs));
  return step;
}

inline bool moe_is_supported(const MoEArgs& args) {
  return args.top_k >= 1 && args.top_k <= kMostTopK && args.top_k <= args.experts &&
         args.experts <= kMostExperts && args.gate_up.is_aligned() && args.down.is_aligned() &&
         args.shared_gate_up.is_aligned() && args.shared_down.is_aligned();
}

}  // namespace deltaport::DELTAPORT_ISA
