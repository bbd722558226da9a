// The kernels' launches as functions of C, for tests and benchmarks: arguments as in the kernels'
// headers, whose pointers are a GPU's; each returns what went wrong, or null.
#include "gpu_kernels/told.h"
#include "kernels/causal_conv1d/cuda.h"
#include "kernels/gated_delta_rule/cuda.h"
#include "kernels/sparse_moe/cuda.h"

using namespace deltaport;
using namespace deltaport::DELTAPORT_ISA;

#define ENTRIES(name, Element)                                                                   \
  const char* causal_conv1d_##name(const ConvArgs<Element>* args, cudaStream_t stream) {         \
    return told(run_convolution(*args, stream));                                                 \
  }                                                                                              \
  const char* gated_delta_steps_##name(const DeltaRuleArgs<Element>* args, cudaStream_t stream) { \
    return told(run_delta_steps(*args, stream));                                                 \
  }                                                                                              \
  const char* gated_delta_chunks_##name(const DeltaRuleArgs<Element>* args,                      \
                                        cudaStream_t stream) {                                   \
    return told(run_delta_chunks(*args, stream));                                                \
  }

extern "C" {
ENTRIES(float32, float)
ENTRIES(bfloat16, BFloat16)
ENTRIES(float16, Float16)

int64_t sparse_moe_workspace(const MoEArgs* args) { return moe_workspace_bytes(*args); }
const char* sparse_moe(const MoEArgs* args, void* workspace, cudaStream_t stream) {
  return told(run_sparse_moe(*args, workspace, stream));
}
}
