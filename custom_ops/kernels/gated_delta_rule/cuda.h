// Launches the kernels of the gated delta rule; for callers that no CUDA compiler compiles.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/gated_delta_rule/simt_steps.h"

namespace deltaport::DELTAPORT_ISA {

// Key and value heads have at most kMostKeyDim and kMostValueDim. Returns what the launch does.
template <class Element>
cudaError_t run_delta_steps(const DeltaStepsArgs<Element>& args, cudaStream_t stream);

}  // namespace deltaport::DELTAPORT_ISA
