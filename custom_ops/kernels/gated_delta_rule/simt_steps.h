// The gated delta rule token by token, as decode has it: a team of threads takes one value head of one
// row, keeps its state in registers, and reads and writes it once. The maths is that of step.h.
#pragma once

#include "simd/math.h"
#include "simt/narrow.h"
#include "simt/team.h"

namespace deltaport::DELTAPORT_ISA {

// As GatedDeltaRuleArgs, whose shapes these are, with activations of any type. Without the norm z and
// norm are null.
template <class Element>
struct DeltaStepsArgs {
  int64_t rows, tokens, key_heads, value_heads, key_dim, value_dim;
  const Element *qkv, *a, *b;
  const float *A_log, *dt_bias, *state;
  const int64_t* lengths;
  float norm_eps;
  const Element* z;
  const float* norm;
  float output_norm_eps;
  Element* o;
  float* new_state;  // may be the memory of state
};

// A thread has kRows rows of one column of the state: kParts threads share a column.
constexpr int kColumns = kSummed, kParts = 4, kRows = 32;
constexpr int kMostKeyDim = kParts * kRows, kMostValueDim = kColumns;
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
  const DeltaStepsArgs<Element>& args;
  DeltaStepsShared& shared;
  int64_t row, head;
  PerThread<float[kRows], Team> state = {};

  static DELTAPORT_INLINE int column(int thread) { return thread % kColumns; }
  static DELTAPORT_INLINE int part(int thread) { return thread / kColumns; }

  DELTAPORT_INLINE int64_t key_head() const {
    return head / (args.value_heads / args.key_heads);
  }
  DELTAPORT_INLINE int64_t output_at(int64_t t) const {
    return ((row * args.tokens + t) * args.value_heads + head) * args.value_dim;
  }

  // body(its place in memory, the thread's own value) for every element of the state.
  template <class Body>
  DELTAPORT_INLINE void each_of_state(const Body& body) {
    const int64_t first = (row * args.value_heads + head) * args.key_dim;
    team.each([&](int thread) {
      if (column(thread) >= args.value_dim) return;
      DELTAPORT_UNROLL
      for (int i = 0; i < kRows; ++i) {
        const int key = part(thread) * kRows + i;
        if (key < args.key_dim) {
          body((first + key) * args.value_dim + column(thread), state[thread][i]);
        }
      }
    });
  }

  // Unit vectors q, scaled, and k, and their product in sums[2][0]; the gates.
  DELTAPORT_INLINE void load_token(int64_t t) {
    const int64_t key_width = args.key_heads * args.key_dim;
    const Element* packed =
        args.qkv + (row * args.tokens + t) * (2 * key_width + args.value_heads * args.value_dim) +
        key_head() * args.key_dim;
    team.each([&](int thread) {
      if (thread < kSummed) {
        const bool is_key = thread < args.key_dim;
        const float q = is_key ? as_float(packed[thread]) : 0.0f;
        const float k = is_key ? as_float(packed[key_width + thread]) : 0.0f;
        shared.q[thread] = q;
        shared.k[thread] = k;
        shared.sums[0][thread] = q * q;
        shared.sums[1][thread] = k * k;
        shared.sums[2][thread] = q * k;
      } else if (thread == kSummed) {
        const int64_t at = (row * args.tokens + t) * args.value_heads + head;
        const Vec rate = exp(Vec::all(args.A_log[head]));
        const Vec step = softplus(Vec::all(as_float(args.a[at]) + args.dt_bias[head]));
        shared.alpha = exp(Vec::zero() - rate * step).v;
        shared.beta = sigmoid(Vec::all(as_float(args.b[at]))).v;
      }
    });
    sum_runs(team, shared.sums[0], 3);
    const float q_scale = 1.0f / (sqrtf(shared.sums[0][0] + args.norm_eps) *
                                  sqrtf(static_cast<float>(args.key_dim)));
    const float k_scale = 1.0f / sqrtf(shared.sums[1][0] + args.norm_eps);
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

  // The read-out as it is, or o / sqrt(mean(o^2) + eps) * norm * silu(z).
  DELTAPORT_INLINE void give(int64_t t) {
    const int64_t at = output_at(t);
    if (args.norm != nullptr) {
      team.each([&](int c) {
        if (c < kSummed) shared.sums[0][c] = shared.o[c] * shared.o[c];
      });
      sum_runs(team, shared.sums[0], 1);
    }
    const float mean = shared.sums[0][0] / static_cast<float>(args.value_dim);
    const float inverse = 1.0f / sqrtf(mean + args.output_norm_eps);
    team.each([&](int c) {
      if (c >= args.value_dim) return;
      float o = shared.o[c];
      if (args.norm != nullptr) {
        o = o * inverse * args.norm[c] * silu(Vec::all(as_float(args.z[at + c]))).v;
      }
      narrow(o, args.o + at + c);
    });
  }

  DELTAPORT_INLINE void run() {
    const int64_t values = 2 * args.key_heads * args.key_dim + head * args.value_dim;
    const int64_t width = 2 * args.key_heads * args.key_dim + args.value_heads * args.value_dim;
    each_of_state([&](int64_t at, float& own) { own = args.state[at]; });
    for (int64_t t = 0; t < args.lengths[row]; ++t) {
      load_token(t);
      update(args.qkv + (row * args.tokens + t) * width + values);
      give(t);
    }
    for (int64_t t = args.lengths[row]; t < args.tokens; ++t) {
      team.each([&](int c) {
        if (c < args.value_dim) narrow(0.0f, args.o + output_at(t) + c);
      });
    }
    each_of_state([&](int64_t at, float& own) { args.new_state[at] = own; });
  }
};

}  // namespace deltaport::DELTAPORT_ISA
