// Launches the kernels of the causal convolution; for callers that no CUDA compiler compiles.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/causal_conv1d/simt_conv.h"

namespace deltaport::DELTAPORT_ISA {

// 2 to 4 taps. Returns what the launch does.
template <class Element>
cudaError_t run_convolution(const ConvArgs<Element>& args, cudaStream_t stream);

}  // namespace deltaport::DELTAPORT_ISA
