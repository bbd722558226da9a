// A sparse mixture of quantized experts, with a shared one or without: see QuantizedMoE and
// QuantizedSharedExpertMoE in docs/custom-ops.md.
#pragma once

#include "kernels/quantized/quantized_weights.h"
#include "kernels/sparse_moe/sparse_moe.h"

namespace deltaport {

struct QuantizedMoEArgs {
  SparseMoEArgs moe;  // but for the experts' weights
  // Experts one after another. Gate rows and up rows are padded to whole tiles each.
  QuantizedWeights gate_up, down;
  QuantizedWeights shared_gate_up, shared_down;  // with a shared expert alone
};

}  // namespace deltaport
