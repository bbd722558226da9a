// Launches the kernels of a mixture of experts; for callers that no CUDA compiler compiles.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/sparse_moe/simt_stages.h"

namespace deltaport::DELTAPORT_ISA {

// Runs on the stream alone: nothing is allocated, and the host waits for nothing. The workspace has
// moe_workspace_bytes. Returns what the first launch that fails does; see moe_is_supported.
cudaError_t run_sparse_moe(const MoEArgs& args, void* workspace, cudaStream_t stream);

}  // namespace deltaport::DELTAPORT_ISA
