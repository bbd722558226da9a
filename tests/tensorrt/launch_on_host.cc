// The kernels that the adapter launches, run on the host where they are called.
#include "kernels/causal_conv1d/cuda.h"
#include "kernels/gated_delta_rule/cuda.h"
#include "kernels/sparse_moe/cuda.h"
#include "simt/on_host.cc"

namespace deltaport::simt_on_host {

namespace {

// The mock host's only stream: a kernel launched on another would not wait for its inputs.
bool is_given(cudaStream_t stream) { return reinterpret_cast<uintptr_t>(stream) == 0x57; }

}  // namespace

template <class Element>
cudaError_t run_delta_rule(const DeltaRuleArgs<Element>& args, cudaStream_t stream) {
  if (!is_given(stream)) return cudaErrorInvalidValue;
  args.tokens <= kFewTokens ? run_delta_steps(args) : run_delta_chunks(args);
  return cudaSuccess;
}

template <class Element>
cudaError_t run_convolution(const ConvArgs<Element>& args, cudaStream_t stream) {
  return is_given(stream) && run_convolution(args) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t run_sparse_moe(const MoEArgs& args, void* workspace, cudaStream_t stream) {
  if (!is_given(stream) || !moe_is_supported(args)) return cudaErrorInvalidValue;
  run_mixture<false>(args, workspace);
  return cudaSuccess;
}

template cudaError_t run_delta_rule(const DeltaRuleArgs<float>&, cudaStream_t);
template cudaError_t run_delta_rule(const DeltaRuleArgs<BFloat16>&, cudaStream_t);
template cudaError_t run_delta_rule(const DeltaRuleArgs<Float16>&, cudaStream_t);
template cudaError_t run_convolution(const ConvArgs<float>&, cudaStream_t);
template cudaError_t run_convolution(const ConvArgs<BFloat16>&, cudaStream_t);
template cudaError_t run_convolution(const ConvArgs<Float16>&, cudaStream_t);

}  // namespace deltaport::simt_on_host
