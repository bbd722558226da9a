// The gated delta rule token by token, as decode has it: a team of threads takes one value head of one
// row, keeps its state in registers, and reads and writes it once. The maths is that of step.h.
#pragma once

#include "kernels/gated_delta_rule/simt_head.h"
#include "simt/narrow.h"
#include "simt/team.h"

namespace deltaport::DELTAPORT_ISA {

// A thread has kRows rows of one column of the state: kParts threads share a column.
constexpr int kColumns = kSummed, kParts = 4, kRows = 32;
static_assert(kMostKeyDim == kParts * kRows && kMostValueDim == kColumns);
constexpr int kStepThreads = kParts * kColumns;

struct DeltaStepsShared {
  float q[kMostKeyDim], k[kMostKeyDim];
  float sums[3][kSummed];  // q^2, k^2, qk; then of the read-out o^2
  float by_key[kParts][kColumns], by_query[kParts][kColumns];
  float u[kColumns], o[kColumns];
  float alpha, beta;
};

// One value head of one row.
template <class Element, class Team>
struct DeltaSteps {
  const Team& team;
  const DeltaRuleArgs<Element>& args;
  const DeltaRuleHead<Element> head;
  DeltaStepsShared& shared;
  PerThread<float[kRows], Team> state = {};

  static DELTAPORT_INLINE int column(int thread) { return thread % kColumns; }
  static DELTAPORT_INLINE int part(int thread) { return thread / kColumns; }

  // body(its place in memory, the thread's own value) for every element of the state.
  template <class Body>
  DELTAPORT_INLINE void each_of_state(const Body& body) {
    team.each([&](int thread) {
      if (column(thread) >= args.value_dim) return;
      DELTAPORT_UNROLL
      for (int i = 0; i < kRows; ++i) {
        const int key = part(thread) * kRows + i;
        if (key < args.key_dim) {
          body(head.state_at(key, column(thread)), state[thread][i]);
        }
      }
    });
  }

  // Unit vectors q, scaled, and k, and their product in sums[2][0]; the gates.
  DELTAPORT_INLINE void load_token(int64_t t) {
    const Element *from_q = head.q(t), *from_k = head.k(t);
    team.each([&](int thread) {
      if (thread < kSummed) {
        const bool is_key = thread < args.key_dim;
        const float q = is_key ? as_float(from_q[thread]) : 0.0f;
        const float k = is_key ? as_float(from_k[thread]) : 0.0f;
        shared.q[thread] = q;
        shared.k[thread] = k;
        shared.sums[0][thread] = q * q;
        shared.sums[1][thread] = k * k;
        shared.sums[2][thread] = q * k;
      } else if (thread == kSummed) {
        shared.alpha = exp(Vec::all(head.log_decay(t))).v;
        shared.beta = head.beta(t);
      }
    });
    sum_runs(team, shared.sums[0], 3);
    const float q_scale = head.q_scale(shared.sums[0][0]);
    const float k_scale = head.k_scale(shared.sums[1][0]);
    team.each([&](int thread) {
      if (thread >= kSummed) return;
      shared.q[thread] *= q_scale;
      shared.k[thread] *= k_scale;
      if (thread == 0) shared.sums[2][0] *= q_scale * k_scale;
    });
  }

  // With S the state and p = alpha k^T S: u = beta (v - p), o = alpha q^T S + (q.k) u, and
  // S = alpha S + k u^T.
  DELTAPORT_INLINE void update(const Element* v) {
    team.each([&](int thread) {
      float by_key = 0, by_query = 0;
      DELTAPORT_UNROLL
      for (int i = 0; i < kRows; ++i) {
        const int key = part(thread) * kRows + i;
        by_key = fmaf(shared.k[key], state[thread][i], by_key);
        by_query = fmaf(shared.q[key], state[thread][i], by_query);
      }
      shared.by_key[part(thread)][column(thread)] = by_key;
      shared.by_query[part(thread)][column(thread)] = by_query;
    });
    team.each([&](int c) {
      if (c >= kColumns) return;
      float by_key = 0, by_query = 0;
      for (int i = 0; i < kParts; ++i) {
        by_key += shared.by_key[i][c];
        by_query += shared.by_query[i][c];
      }
      const float value = c < args.value_dim ? as_float(v[c]) : 0.0f;
      shared.u[c] = shared.beta * fmaf(-shared.alpha, by_key, value);
      shared.o[c] = fmaf(shared.sums[2][0], shared.u[c], shared.alpha * by_query);
    });
    team.each([&](int thread) {
      const float u = shared.u[column(thread)];
      DELTAPORT_UNROLL
      for (int i = 0; i < kRows; ++i) {
        float& s = state[thread][i];
        s = fmaf(shared.k[part(thread) * kRows + i], u, shared.alpha * s);
      }
    });
  }

  DELTAPORT_INLINE void give(int64_t t) {
    if (args.norm != nullptr) {
      team.each([&](int c) {
        if (c < kSummed) shared.sums[0][c] = shared.o[c] * shared.o[c];
      });
      sum_runs(team, shared.sums[0], 1);
    }
    team.each([&](int c) {
      if (c >= args.value_dim) return;
      narrow(head.output(shared.o[c], shared.sums[0][0], t, c), args.o + head.output_at(t) + c);
    });
  }

  DELTAPORT_INLINE void run() {
    each_of_state([&](int64_t at, float& own) { own = args.state[at]; });
    for (int64_t t = 0; t < head.length(); ++t) {
      load_token(t);
      update(head.v(t));
      give(t);
    }
    for (int64_t t = head.length(); t < args.tokens; ++t) {
      team.each([&](int c) {
        if (c < args.value_dim) narrow(0.0f, args.o + head.output_at(t) + c);
      });
    }
    each_of_state([&](int64_t at, float& own) { args.new_state[at] = own; });
  }
};

}  // namespace deltaport::DELTAPORT_ISA
