// A sparse mixture of experts, with a shared one or without; see SparseMoE and SharedExpertMoE in
// docs/custom-ops.md for the maths.
#pragma once

#include <cstdint>

#include "simd/element_type.h"

namespace deltaport {

struct SparseMoEArgs {
  int64_t rows, tokens, hidden, experts, inner, top_k;
  const float* x;              // [rows, tokens, hidden]
  const float* router_logits;  // [rows, tokens, experts]
  Weights gate_up{};           // [experts, 2 * inner, hidden]
  Weights down{};              // [experts, hidden, inner]
  const int64_t* lengths;      // [rows]
  float* y;                    // [rows, tokens, hidden]
  // With a shared expert alone, of width shared_inner > 0:
  int64_t shared_inner = 0;
  Weights shared_gate{};     // [1, hidden]
  Weights shared_gate_up{};  // [2 * shared_inner, hidden]
  Weights shared_down{};     // [hidden, shared_inner]
};

}  // namespace deltaport
