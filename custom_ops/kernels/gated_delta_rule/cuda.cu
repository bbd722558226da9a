// A block of threads for every value head of every row.
#define DELTAPORT_ISA cuda
#define DELTAPORT_SIMT
#include "kernels/gated_delta_rule/cuda.h"

namespace deltaport::cuda {

template <class Element>
__global__ void __launch_bounds__(kStepThreads) delta_steps(DeltaStepsArgs<Element> args) {
  __shared__ DeltaStepsShared shared;
  using Team = DeviceTeam<kStepThreads>;
  const Team team;
  DeltaSteps<Element, Team>{team, args, shared, blockIdx.y, blockIdx.x}.run();
}

template <class Element>
cudaError_t run_delta_steps(const DeltaStepsArgs<Element>& args, cudaStream_t stream) {
  if (args.key_dim > kMostKeyDim || args.value_dim > kMostValueDim) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  const dim3 blocks(static_cast<unsigned>(args.value_heads), static_cast<unsigned>(args.rows));
  delta_steps<<<blocks, kStepThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

template cudaError_t run_delta_steps(const DeltaStepsArgs<float>&, cudaStream_t);
template cudaError_t run_delta_steps(const DeltaStepsArgs<BFloat16>&, cudaStream_t);
template cudaError_t run_delta_steps(const DeltaStepsArgs<Float16>&, cudaStream_t);

}  // namespace deltaport::cuda
