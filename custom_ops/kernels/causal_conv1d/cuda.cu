// A thread for every channel of a stretch of a row's tokens.
#define DELTAPORT_ISA cuda
#define DELTAPORT_SIMT
#include "kernels/causal_conv1d/cuda.h"

#include "simt/launch_cuda.h"

namespace deltaport::cuda {

template <class Element, int taps>
struct Convolve {
  static constexpr int threads = kConvThreads;
  using Shared = NothingShared;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const ConvArgs<Element>& args, Shared&,
                                   const Blocks& block) {
    Convolution<Element, taps, Team>{team, args, block.z, block.x, block.y}.run();
  }
};

template <class Element>
cudaError_t run_convolution(const ConvArgs<Element>& args, cudaStream_t stream) {
  // Without tokens there is a first stretch all the same, which keeps the state.
  const int64_t tokens = args.tokens > 0 ? args.tokens : 1;
  const Blocks blocks{blocks_of(args.channels, kConvThreads), blocks_of(tokens, kConvTokens),
                      args.rows};
  cudaError_t result = cudaErrorInvalidValue;
  with_taps(args.taps, [&]<int taps>() {
    result = launch<Convolve<Element, taps>>(args, blocks, stream);
  });
  return result;
}

template cudaError_t run_convolution(const ConvArgs<float>&, cudaStream_t);
template cudaError_t run_convolution(const ConvArgs<BFloat16>&, cudaStream_t);
template cudaError_t run_convolution(const ConvArgs<Float16>&, cudaStream_t);

}  // namespace deltaport::cuda
