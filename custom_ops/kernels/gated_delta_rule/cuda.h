// Launches the kernels of the gated delta rule; for callers that no CUDA compiler compiles.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/gated_delta_rule/simt_chunks.h"
#include "kernels/gated_delta_rule/simt_steps.h"

namespace deltaport::DELTAPORT_ISA {

// More tokens than these are taken in chunks. A chunk has the products of a full one, however few
// its tokens are, and has them all in fewer phases than one token. Not measured yet.
constexpr int64_t kFewTokens = kTileTokens;

// Key and value heads have at most kMostKeyDim and kMostValueDim. Return what the launch does.
template <class Element>
cudaError_t run_delta_steps(const DeltaRuleArgs<Element>& args, cudaStream_t stream);
template <class Element>
cudaError_t run_delta_chunks(const DeltaRuleArgs<Element>& args, cudaStream_t stream);

// The one of the two that so many tokens want.
template <class Element>
cudaError_t run_delta_rule(const DeltaRuleArgs<Element>& args, cudaStream_t stream) {
  return args.tokens <= kFewTokens ? run_delta_steps(args, stream) : run_delta_chunks(args, stream);
}

}  // namespace deltaport::DELTAPORT_ISA
