// All kernels of one instruction set, and the choice of the set.
#pragma once

#include <string>
#include <vector>

#include "kernels/add_rms_norm/add_rms_norm.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/gated_attention/gated_attention.h"
#include "kernels/gated_delta_rule/gated_delta_rule.h"
#include "kernels/linear/linear.h"
#include "kernels/parallel.h"
#include "kernels/quantize/quantize.h"
#include "kernels/quantized_gather/quantized_gather.h"
#include "kernels/quantized_linear/quantized_linear.h"
#include "kernels/quantized_moe/quantized_moe.h"
#include "kernels/sparse_moe/sparse_moe.h"
#include "kernels/swiglu/swiglu.h"

// Every kernel's name and arguments, once: declaration, table and instantiation follow from it.
#define DELTAPORT_FOR_EACH_KERNEL(X)    \
  X(add_rms_norm, AddRMSNormArgs)       \
  X(causal_conv1d, CausalConv1dArgs)    \
  X(gated_attention, GatedAttentionArgs) \
  X(gated_delta_rule, GatedDeltaRuleArgs) \
  X(linear, LinearArgs)                 \
  X(quantize, QuantizeArgs)             \
  X(quantized_gather, QuantizedGatherArgs) \
  X(sparse_moe, SparseMoEArgs)          \
  X(swiglu, SwiGLUArgs)
#define DELTAPORT_FOR_EACH_QUANTIZED_KERNEL(X) \
  X(quantized_linear, QuantizedLinearArgs)     \
  X(quantized_moe, QuantizedMoEArgs)

namespace deltaport {

#define DELTAPORT_ENTRY(name, Args) void (*name)(const Args&, const Parallel&);
struct QuantizedKernels {
  DELTAPORT_FOR_EACH_QUANTIZED_KERNEL(DELTAPORT_ENTRY)
};
struct KernelTable {
  const char* isa;
  DELTAPORT_FOR_EACH_KERNEL(DELTAPORT_ENTRY)
  QuantizedKernels quantized;
};
#undef DELTAPORT_ENTRY

// Names of the instruction sets this machine runs, best first: of "avx512vnni", "avx512", "avx2" and
// "portable".
std::vector<std::string> supported_isas();

// The kernels for `isa`, or for the best supported one where it is empty. Throws
// std::invalid_argument, with what is supported, for any other name.
const KernelTable& kernels_for(const std::string& isa);

}  // namespace deltaport
