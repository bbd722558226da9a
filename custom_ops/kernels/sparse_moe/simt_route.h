// Which experts tokens are given to, and how much of each: a warp takes a token, a block of threads
// kRouteTokens.
#pragma once

#include "kernels/sparse_moe/simt_moe.h"
#include "kernels/sparse_moe/simt_rank.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int kRouteThreads = kRouteTokens * kLanes;
constexpr int kLaneExperts = kMostExperts / kLanes;

struct RouteShared {
  bool is_real[kRouteTokens];  // else padding, or no token at all
  float gate[kRouteTokens][kRouteThreads];  // parts of shared_gate . x
  RankedExpert chosen[kRouteTokens][kMostTopK];  // best first
  int32_t experts[kRouteTokens][kMostTopK + 1];  // ascending; -1 where the token is padding
  float share[kRouteTokens][kMostTopK];
  uint32_t masks[kMostExperts + 1];
};

// Tokens [kRouteTokens * chunk, ...) of a step.
template <class Team>
struct Route {
  static_assert(Team::threads == kRouteThreads);

  const Team& team;
  const MoEStep& step;
  RouteShared& shared;
  int64_t chunk;
  // Of the lane's experts, every 32nd; 0 where there is none or it was chosen.
  PerThread<uint32_t[kLaneExperts], Team> ranks = {};
  PerThread<RankedExpert, Team> best = {};  // of those
  PerThread<uint32_t, Team> found = {};

  // body(thread, the token's number in the block, lane), where the token is real.
  template <class Body>
  DELTAPORT_INLINE void each_lane(const Body& body) {
    team.each([&](int thread) {
      const int t = thread / kLanes;
      if (shared.is_real[t]) body(thread, t, thread % kLanes);
    });
  }

  DELTAPORT_INLINE int64_t first_token() const { return step.begin + chunk * kRouteTokens; }

  DELTAPORT_INLINE void load() {
    const MoEArgs& args = step.args;
    team.each([&](int t) {
      if (t < kRouteTokens) shared.is_real[t] = step.is_real(chunk * kRouteTokens + t);
    });
    each_lane([&](int thread, int t, int lane) {
      const int64_t token = first_token() + t;
      DELTAPORT_UNROLL
      for (int i = 0; i < kLaneExperts; ++i) {
        const int expert = i * kLanes + lane;
        if (expert >= args.experts) break;
        ranks[thread][i] = rank_of(stored_at(args.router_logits, token * args.experts + expert));
      }
      offer_best(thread);
    });
  }

  // shared_gate . x of all tokens, of which each thread takes some of the inputs: so a token alone
  // does not wait for one warp. The last sums are weight_of's.
  DELTAPORT_INLINE void open_gate() {
    const MoEArgs& args = step.args;
    team.each([&](int thread) {
      float sums[kRouteTokens] = {};
      for (int64_t c = thread; c < args.hidden; c += Team::threads) {
        const float gate = stored_at(args.shared_gate, c);
        DELTAPORT_UNROLL
        for (int t = 0; t < kRouteTokens; ++t) {
          if (!shared.is_real[t]) continue;
          sums[t] = fmaf(stored_at(args.x, (first_token() + t) * args.hidden + c), gate, sums[t]);
        }
      }
      DELTAPORT_UNROLL
      for (int t = 0; t < kRouteTokens; ++t) shared.gate[t][thread] = sums[t];
    });
    each_lane([&](int, int t, int lane) {
      float sum = 0;
      for (int i = lane; i < kRouteThreads; i += kLanes) sum += shared.gate[t][i];
      shared.gate[t][lane] = sum;
    });
  }

  // Of equal ones the first.
  DELTAPORT_INLINE void offer_best(int thread) {
    uint32_t rank = 0, place = 0;
    DELTAPORT_UNROLL
    for (int i = 0; i < kLaneExperts; ++i) {
      if (i * kLanes >= step.args.experts) break;
      if (ranks[thread][i] <= rank) continue;
      rank = ranks[thread][i];
      place = static_cast<uint32_t>(i);
    }
    best[thread] = {rank, place * kLanes + static_cast<uint32_t>(thread % kLanes)};
    found[thread] = rank;
  }

  DELTAPORT_INLINE void take_best(int thread) {
    DELTAPORT_UNROLL
    for (int i = 0; i < kLaneExperts; ++i) {
      if (best[thread].expert / kLanes == static_cast<uint32_t>(i)) ranks[thread][i] = 0;
    }
  }

  // The best of all lanes' best, of equal ones the lowest; its lane then offers another one.
  DELTAPORT_INLINE void choose() {
    for (int i = 0; i < step.args.top_k; ++i) {
      largest_of_warp(team, found);
      each_lane([&](int thread, int, int) {
        found[thread] = best[thread].rank == found[thread] ? ~best[thread].expert : 0;
      });
      largest_of_warp(team, found);
      each_lane([&](int thread, int t, int) {
        if (best[thread].expert == ~found[thread]) {
          shared.chosen[t][i] = best[thread];
          take_best(thread);
        }
        offer_best(thread);
      });
    }
  }

  // Softmax over the chosen: what the softmax over all would give after renormalisation.
  DELTAPORT_INLINE void share() {
    const auto top_k = static_cast<int>(step.args.top_k);
    each_lane([&](int, int t, int lane) {
      if (lane >= top_k) return;
      const RankedExpert own = shared.chosen[t][lane];
      const float largest = logit_of(shared.chosen[t][0].rank);
      int before = 0;
      for (int i = 0; i < top_k; ++i) before += shared.chosen[t][i].expert < own.expert ? 1 : 0;
      shared.experts[t][before] = static_cast<int32_t>(own.expert);
      shared.share[t][before] = exp(Vec::all(logit_of(own.rank) - largest)).v;
    });
  }

  DELTAPORT_INLINE float weight_of(int t, int slot) const {
    float sum = 0;
    if (slot == step.args.top_k) {
      for (int l = 0; l < kLanes; ++l) sum += shared.gate[t][l];
      return sigmoid(Vec::all(sum)).v;
    }
    for (int i = 0; i < step.args.top_k; ++i) sum += shared.share[t][i];
    return shared.share[t][slot] / sum;
  }

  DELTAPORT_INLINE void give() {
    team.each([&](int thread) {
      const int t = thread / kLanes, slot = thread % kLanes;
      const int64_t at = (chunk * kRouteTokens + t) * step.slots + slot;
      if (slot >= step.slots || at >= step.tokens * step.slots) return;
      int32_t& expert = shared.experts[t][slot];
      if (slot == step.args.top_k) expert = static_cast<int32_t>(step.args.experts);
      if (!shared.is_real[t]) expert = -1;
      step.expert_of[at] = expert;
      if (shared.is_real[t]) step.weight[at] = weight_of(t, slot);
    });
  }

  // Bit t of an expert's mask says whether it has token t of the block. A token has an expert once.
  DELTAPORT_INLINE void mask() {
    const int64_t experts = step.args.experts + 1, first = chunk * kRouteTokens;
    team.each([&](int thread) {
      for (int64_t e = thread; e < experts; e += Team::threads) shared.masks[e] = 0;
    });
    for (int t = 0; t < kRouteTokens && first + t < step.tokens; ++t) {
      team.each([&](int slot) {
        if (slot >= step.slots || shared.experts[t][slot] < 0) return;
        shared.masks[shared.experts[t][slot]] |= 1u << t;
      });
    }
    team.each([&](int thread) {
      for (int64_t e = thread; e < experts; e += Team::threads) {
        step.masks[chunk * experts + e] = shared.masks[e];
      }
    });
  }

  DELTAPORT_INLINE void run() {
    load();
    if (step.args.shared_inner > 0) open_gate();
    choose();
    share();
    give();
    mask();
  }
};

}  // namespace deltaport::DELTAPORT_ISA
