// A block of threads for every value head of every row.
#define DELTAPORT_ISA cuda
#define DELTAPORT_SIMT
#include "kernels/gated_delta_rule/cuda.h"

namespace deltaport::cuda {

template <class Element>
__global__ void __launch_bounds__(kStepThreads) delta_steps(DeltaRuleArgs<Element> args) {
  __shared__ DeltaStepsShared shared;
  using Team = DeviceTeam<kStepThreads>;
  const Team team;
  DeltaSteps<Element, Team>{team, args, {args, blockIdx.y, blockIdx.x}, shared}.run();
}

template <class Element>
__global__ void __launch_bounds__(kChunkThreads) delta_chunks(DeltaRuleArgs<Element> args) {
  extern __shared__ float4 memory[];
  auto& shared = reinterpret_cast<DeltaChunkShared&>(memory);
  using Team = DeviceTeam<kChunkThreads>;
  const Team team;
  DeltaChunks<Element, Team>{team, args, {args, blockIdx.y, blockIdx.x}, shared}.run();
}

template <class Element>
cudaError_t run_delta_rule(const DeltaRuleArgs<Element>& args, cudaStream_t stream) {
  if (args.key_dim > kMostKeyDim || args.value_dim > kMostValueDim) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  const dim3 blocks(static_cast<unsigned>(args.value_heads), static_cast<unsigned>(args.rows));
  if (args.tokens <= kFewTokens) {
    delta_steps<<<blocks, kStepThreads, 0, stream>>>(args);
    return cudaGetLastError();
  }
  constexpr int kMemory = sizeof(DeltaChunkShared);  // more than a block has without asking
  constexpr auto kAttribute = cudaFuncAttributeMaxDynamicSharedMemorySize;
  const cudaError_t asked = cudaFuncSetAttribute(delta_chunks<Element>, kAttribute, kMemory);
  if (asked != cudaSuccess) {
    cudaGetLastError();  // or whoever launches next would find it, and take it for their own
    return asked;
  }
  delta_chunks<<<blocks, kChunkThreads, kMemory, stream>>>(args);
  return cudaGetLastError();
}

template cudaError_t run_delta_rule(const DeltaRuleArgs<float>&, cudaStream_t);
template cudaError_t run_delta_rule(const DeltaRuleArgs<BFloat16>&, cudaStream_t);
template cudaError_t run_delta_rule(const DeltaRuleArgs<Float16>&, cudaStream_t);

}  // namespace deltaport::cuda
