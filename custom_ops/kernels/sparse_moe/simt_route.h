// Which experts tokens are given to: a warp takes a token, a block of threads kRouteTokens of them.
#pragma once

#include "kernels/sparse_moe/simt_moe.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int kRouteThreads = kRouteTokens * kLanes;

struct RouteShared {
  uint64_t best[2][kRouteTokens][kLanes];
  bool any_nan[kRouteTokens][kLanes];
  float gate[kRouteTokens][kLanes];  // parts of shared_gate . x
  uint64_t chosen[kRouteTokens][kMostTopK];
  int32_t experts[kRouteTokens][kMostTopK + 1];  // ascending; -1 where the token is padding
  float share[kRouteTokens][kMostTopK];
  uint32_t masks[kMostExperts + 1];
};

// A logit and its expert as a number that is the larger the better the expert is: floats by value, of
// equal ones the lower index first. No two are the same, and none is 0. NaN has a place, too.
DELTAPORT_INLINE uint64_t expert_key(float logit, uint32_t expert) {
  logit += 0.0f;  // there is one zero
  uint32_t bits;
  memcpy(&bits, &logit, sizeof bits);
  bits = bits & 0x80000000 ? ~bits : bits | 0x80000000;
  return static_cast<uint64_t>(bits) << 32 | (0xFFFFFFFF - expert);
}
DELTAPORT_INLINE int32_t key_expert(uint64_t key) {
  return static_cast<int32_t>(0xFFFFFFFF - static_cast<uint32_t>(key));
}
DELTAPORT_INLINE float key_logit(uint64_t key) {
  uint32_t bits = static_cast<uint32_t>(key >> 32);
  bits = bits & 0x80000000 ? bits & 0x7FFFFFFF : ~bits;
  float logit;
  memcpy(&logit, &bits, sizeof logit);
  return logit;
}

// Tokens [kRouteTokens * chunk, ...) of a step.
template <class Team>
struct Route {
  static_assert(Team::threads == kRouteThreads);

  const Team& team;
  const MoEStep& step;
  RouteShared& shared;
  int64_t chunk;
  PerThread<float[kMostExperts / kLanes], Team> logits = {};
  PerThread<uint64_t, Team> best = {};

  // body(the token's number in the block, lane), where the token is real.
  template <class Body>
  DELTAPORT_INLINE void each_lane(const Body& body) {
    team.each([&](int thread) {
      const int t = thread / kLanes;
      if (step.is_real(chunk * kRouteTokens + t)) body(thread, t, thread % kLanes);
    });
  }

  // The lane's best expert of those whose key is below `limit`.
  DELTAPORT_INLINE uint64_t best_below(int thread, uint64_t limit) {
    uint64_t found = 0;
    DELTAPORT_UNROLL
    for (int i = 0; i < kMostExperts / kLanes; ++i) {
      const int expert = i * kLanes + thread % kLanes;
      if (expert >= step.args.experts) continue;
      const uint64_t key = expert_key(logits[thread][i], static_cast<uint32_t>(expert));
      if (key < limit && key > found) found = key;
    }
    return found;
  }

  DELTAPORT_INLINE void load() {
    const MoEArgs& args = step.args;
    each_lane([&](int thread, int t, int lane) {
      const int64_t token = step.begin + chunk * kRouteTokens + t;
      bool any_nan = false;
      DELTAPORT_UNROLL
      for (int i = 0; i < kMostExperts / kLanes; ++i) {
        const int expert = i * kLanes + lane;
        if (expert >= args.experts) continue;
        const float logit = stored_at(args.router_logits, token * args.experts + expert);
        logits[thread][i] = logit;
        any_nan |= logit != logit;
      }
      shared.any_nan[t][lane] = any_nan;
      best[thread] = best_below(thread, ~uint64_t{0});
      shared.best[0][t][lane] = best[thread];
      float gate = 0;
      for (int64_t c = lane; args.shared_inner > 0 && c < args.hidden; c += kLanes) {
        const float x = stored_at(args.x, token * args.hidden + c);
        gate = fmaf(x, stored_at(args.shared_gate, c), gate);
      }
      shared.gate[t][lane] = gate;
    });
  }

  // Choice i is the best of all lanes' best; its lane then has another one.
  DELTAPORT_INLINE void choose() {
    for (int i = 0; i < step.args.top_k; ++i) {
      each_lane([&](int thread, int t, int lane) {
        uint64_t winner = 0;
        DELTAPORT_UNROLL
        for (int l = 0; l < kLanes; ++l) {
          const uint64_t key = shared.best[i % 2][t][l];
          if (key > winner) winner = key;
        }
        if (best[thread] == winner) best[thread] = best_below(thread, winner);
        shared.best[(i + 1) % 2][t][lane] = best[thread];
        if (lane == 0) shared.chosen[t][i] = winner;
      });
    }
  }

  // Softmax over the chosen: what the softmax over all would give after renormalisation.
  DELTAPORT_INLINE void share() {
    const auto top_k = static_cast<int>(step.args.top_k);
    each_lane([&](int, int t, int lane) {
      if (lane >= top_k) return;
      const int32_t expert = key_expert(shared.chosen[t][lane]);
      int before = 0;
      for (int i = 0; i < top_k; ++i) before += key_expert(shared.chosen[t][i]) < expert ? 1 : 0;
      const float largest = key_logit(shared.chosen[t][0]), own = key_logit(shared.chosen[t][lane]);
      shared.experts[t][before] = expert;
      shared.share[t][before] = exp(Vec::all(own - largest)).v;
    });
  }

  DELTAPORT_INLINE float weight_of(int t, int slot) const {
    float sum = 0;
    if (slot == step.args.top_k) {
      for (int l = 0; l < kLanes; ++l) sum += shared.gate[t][l];
      return sigmoid(Vec::all(sum)).v;
    }
    bool any_nan = false;
    for (int l = 0; l < kLanes; ++l) any_nan |= shared.any_nan[t][l];
    for (int i = 0; i < step.args.top_k; ++i) sum += shared.share[t][i];
    return any_nan ? nanf("") : shared.share[t][slot] / sum;
  }

  DELTAPORT_INLINE void give() {
    team.each([&](int thread) {
      const int t = thread / kLanes, slot = thread % kLanes;
      const int64_t token = chunk * kRouteTokens + t;
      if (slot >= step.slots || token >= step.tokens) return;
      const bool is_real = step.is_real(token), is_shared = slot == step.args.top_k;
      if (is_real) step.weight[token * step.slots + slot] = weight_of(t, slot);
      if (is_shared) shared.experts[t][slot] = static_cast<int32_t>(step.args.experts);
      if (!is_real) shared.experts[t][slot] = -1;
      step.expert_of[token * step.slots + slot] = shared.experts[t][slot];
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
    choose();
    share();
    give();
    mask();
  }
};

}  // namespace deltaport::DELTAPORT_ISA
