// A thread for every channel of a stretch of a row's tokens.
#define DELTAPORT_ISA cuda
#define DELTAPORT_SIMT
#include "kernels/causal_conv1d/cuda.h"

namespace deltaport::cuda {

template <class Element, int taps>
__global__ void __launch_bounds__(kConvThreads) convolve(ConvArgs<Element> args) {
  using Team = DeviceTeam<kConvThreads>;
  const Team team;
  Convolution<Element, taps, Team>{team, args, blockIdx.z, blockIdx.x, blockIdx.y}.run();
}

template <class Element>
cudaError_t run_convolution(const ConvArgs<Element>& args, cudaStream_t stream) {
  if (args.rows == 0) return cudaSuccess;
  const auto count = [](int64_t n, int64_t of) { return static_cast<unsigned>((n + of - 1) / of); };
  const dim3 blocks(count(args.channels, kConvThreads), count(args.tokens, kConvTokens),
                    static_cast<unsigned>(args.rows));
  const bool known = with_taps(args.taps, [&]<int taps>() {
    convolve<Element, taps><<<blocks, kConvThreads, 0, stream>>>(args);
  });
  return known ? cudaGetLastError() : cudaErrorInvalidValue;
}

template cudaError_t run_convolution(const ConvArgs<float>&, cudaStream_t);
template cudaError_t run_convolution(const ConvArgs<BFloat16>&, cudaStream_t);
template cudaError_t run_convolution(const ConvArgs<Float16>&, cudaStream_t);

}  // namespace deltaport::cuda
