// A kernel for every stage of a mixture of experts.
#define DELTAPORT_ISA cuda
#define DELTAPORT_SIMT
#include "kernels/sparse_moe/cuda.h"

namespace deltaport::cuda {

template <class Stage>
__global__ void __launch_bounds__(Stage::threads) moe_stage(const __grid_constant__ MoEStep step) {
  __shared__ typename Stage::Shared shared;
  const DeviceTeam<Stage::threads> team;
  Stage::run(team, step, shared, blockIdx.x, blockIdx.y);
}

cudaError_t run_sparse_moe(const MoEArgs& args, void* workspace, cudaStream_t stream) {
  if (!moe_is_supported(args)) return cudaErrorInvalidValue;
  cudaError_t result = cudaSuccess;
  each_moe_stage(args, workspace, [&]<class Stage>(const MoEStep& step, int64_t x, int64_t y) {
    if (result != cudaSuccess) return;
    const dim3 blocks(static_cast<unsigned>(x), static_cast<unsigned>(y));
    moe_stage<Stage><<<blocks, Stage::threads, 0, stream>>>(step);
    result = cudaGetLastError();
  });
  return result;
}

}  // namespace deltaport::cuda
