// A block of threads for every value head of every row.
#define DELTAPORT_ISA cuda
#define DELTAPORT_SIMT
#include "kernels/gated_delta_rule/cuda.h"

#include "simt/launch_cuda.h"

namespace deltaport::cuda {

template <class Element>
struct StepsKernel {
  static constexpr int threads = kStepThreads;
  using Shared = DeltaStepsShared;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const DeltaRuleArgs<Element>& args,
                                   Shared& shared, const Blocks& block) {
    DeltaSteps<Element, Team>{team, args, {args, block.y, block.x}, shared}.run();
  }
};

template <class Element>
struct ChunksKernel {
  static constexpr int threads = kChunkThreads;
  using Shared = DeltaChunkShared;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const DeltaRuleArgs<Element>& args,
                                   Shared& shared, const Blocks& block) {
    DeltaChunks<Element, Team>{team, args, {args, block.y, block.x}, shared}.run();
  }
};

template <class Kernel, class Element>
cudaError_t run_heads(const DeltaRuleArgs<Element>& args, cudaStream_t stream) {
  if (args.key_dim > kMostKeyDim || args.value_dim > kMostValueDim) return cudaErrorInvalidValue;
  return launch<Kernel>(args, Blocks{args.value_heads, args.rows}, stream);
}

template <class Element>
cudaError_t run_delta_steps(const DeltaRuleArgs<Element>& args, cudaStream_t stream) {
  return run_heads<StepsKernel<Element>>(args, stream);
}
template <class Element>
cudaError_t run_delta_chunks(const DeltaRuleArgs<Element>& args, cudaStream_t stream) {
  return run_heads<ChunksKernel<Element>>(args, stream);
}

template cudaError_t run_delta_steps(const DeltaRuleArgs<float>&, cudaStream_t);
template cudaError_t run_delta_steps(const DeltaRuleArgs<BFloat16>&, cudaStream_t);
template cudaError_t run_delta_steps(const DeltaRuleArgs<Float16>&, cudaStream_t);
template cudaError_t run_delta_chunks(const DeltaRuleArgs<float>&, cudaStream_t);
template cudaError_t run_delta_chunks(const DeltaRuleArgs<BFloat16>&, cudaStream_t);
template cudaError_t run_delta_chunks(const DeltaRuleArgs<Float16>&, cudaStream_t);

}  // namespace deltaport::cuda
