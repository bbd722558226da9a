// What kernels of the gated delta rule for GPUs are given, and where one value head of it lies.
#pragma once

#include "simd/math.h"
#include "simt/lengths.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int kMostKeyDim = 128, kMostValueDim = 128;

// As GatedDeltaRuleArgs, whose shapes these are, with activations of any type. Without the norm z
// and norm are null.
template <class Element>
struct DeltaRuleArgs {
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

// One value head of one row.
template <class Element>
struct DeltaRuleHead {
  const DeltaRuleArgs<Element>& args;
  int64_t row, head;

  DELTAPORT_INLINE int64_t length() const {
    return real_tokens(args.lengths, row, args.tokens);
  }
  DELTAPORT_INLINE const Element* q(int64_t t) const {
    const int64_t key_head = head / (args.value_heads / args.key_heads);
    return packed(t) + key_head * args.key_dim;
  }
  DELTAPORT_INLINE const Element* k(int64_t t) const {
    return q(t) + args.key_heads * args.key_dim;
  }
  DELTAPORT_INLINE const Element* v(int64_t t) const {
    return packed(t) + 2 * args.key_heads * args.key_dim + head * args.value_dim;
  }
  DELTAPORT_INLINE int64_t state_at(int64_t key, int64_t column) const {
    return ((row * args.value_heads + head) * args.key_dim + key) * args.value_dim + column;
  }
  DELTAPORT_INLINE int64_t output_at(int64_t t) const { return gate_at(t) * args.value_dim; }

  DELTAPORT_INLINE float log_decay(int64_t t) const {
    const Vec rate = exp(Vec::all(args.A_log[head]));
    const Vec step = softplus(Vec::all(as_float(args.a[gate_at(t)]) + args.dt_bias[head]));
    return (Vec::zero() - rate * step).v;
  }
  DELTAPORT_INLINE float beta(int64_t t) const {
    return sigmoid(Vec::all(as_float(args.b[gate_at(t)]))).v;
  }
  // What makes a query and a key of these sums of squares unit vectors, the query scaled.
  DELTAPORT_INLINE float q_scale(float squares) const {
    return 1.0f / (sqrtf(squares + args.norm_eps) * sqrtf(static_cast<float>(args.key_dim)));
  }
  DELTAPORT_INLINE float k_scale(float squares) const {
    return 1.0f / sqrtf(squares + args.norm_eps);
  }
  // Column c of token t's output: o as it is, or o / sqrt(mean(o^2) + eps) * norm * silu(z).
  DELTAPORT_INLINE float output(float o, float squares, int64_t t, int64_t c) const {
    if (args.norm == nullptr) return o;
    const float mean = squares / static_cast<float>(args.value_dim);
    const float inverse = 1.0f / sqrtf(mean + args.output_norm_eps);
    return o * inverse * args.norm[c] * silu(Vec::all(as_float(args.z[output_at(t) + c]))).v;
  }

 private:
  DELTAPORT_INLINE int64_t gate_at(int64_t t) const {
    return (row * args.tokens + t) * args.value_heads + head;
  }
  DELTAPORT_INLINE const Element* packed(int64_t t) const {
    const int64_t heads = 2 * args.key_heads * args.key_dim + args.value_heads * args.value_dim;
    return args.qkv + (row * args.tokens + t) * heads;
  }
};

}  // namespace deltaport::DELTAPORT_ISA
