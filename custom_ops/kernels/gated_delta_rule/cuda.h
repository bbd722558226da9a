// Launches the kernels of the gated delta rule; for callers that no CUDA compiler compiles.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/gated_delta_rule/simt_chunks.h"
#include "kernels/gated_delta_rule/simt_steps.h"

namespace deltaport::DELTAPORT_ISA {

// More tokens than these are taken in chunks. A chunk has the products of a full one, however few
// its tokens are, and has them all in fewer phases than one token. Not measured yet.
constexpr int64_t kFewTokens = kTileTokens;

// Key and value heads have at most kMostKeyDim and kMostValueDim. Returns what the launch does.
template <class Element>
cudaError_t run_delta_rule(const DeltaRuleArgs<Element>& args, cudaStream_t stream);

}  // namespace deltaport::DELTAPORT_ISA
