// A kernel for every stage of a mixture of experts.
#define DELTAPORT_ISA cuda
#define DELTAPORT_SIMT
#include "kernels/sparse_moe/cuda.h"

#include "simt/launch_cuda.h"

namespace deltaport::cuda {

cudaError_t run_sparse_moe(const MoEArgs& args, void* workspace, cudaStream_t stream) {
  if (!moe_is_supported(args)) return cudaErrorInvalidValue;
  cudaError_t result = cudaSuccess;
  each_moe_stage(args, workspace, [&]<class Stage>(const MoEStep& step, const Blocks& blocks) {
    if (result == cudaSuccess) result = launch<Stage>(step, blocks, stream);
  });
  return result;
}

}  // namespace deltaport::cuda
