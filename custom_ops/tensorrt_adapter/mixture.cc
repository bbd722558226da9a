#include "tensorrt_adapter/mixture.h"

#include <stdexcept>
#include <string>

namespace deltaport::tensorrt {

namespace kernels = DELTAPORT_ISA;

void check_experts(const Sizes& sizes, const Attributes& attributes) {
  sizes.require("E", 1, kernels::kMostExperts);
  const int64_t top_k = attributes.whole("top_k"), experts = sizes["E"];
  const int64_t known = experts == 0 ? kernels::kMostExperts : experts;
  const int64_t most = known < kernels::kMostTopK ? known : kernels::kMostTopK;
  if (top_k <= most) return;
  throw std::invalid_argument("top_k is " + std::to_string(top_k) + ", but the kernel takes 1 to " +
                              std::to_string(most) + (most == experts ? ", the experts" : ""));
}

kernels::MoEArgs mixture_shape(const Sizes& sizes, const Attributes& attributes, int64_t inner,
                               int64_t shared_inner) {
  kernels::MoEArgs args{};
  args.rows = sizes["B"];
  args.tokens = sizes["T"];
  args.hidden = sizes["H"];
  args.experts = sizes["E"];
  args.inner = inner;
  args.top_k = attributes.whole("top_k");
  args.shared_inner = shared_inner;
  return args;
}

kernels::MoEArgs read_tokens(const Call& call, int64_t inner, int64_t shared_inner) {
  kernels::MoEArgs args = mixture_shape(call.sizes, call.attributes, inner, shared_inner);
  args.x = activations_of(call, "x");
  args.router_logits = activations_of(call, "router_logits");
  args.lengths = call.input<int64_t>("lengths");
  args.y = call.output<void>("y");
  return args;
}

Weights activations_of(const Call& call, const char* port) {
  return {call.input<void>(port), call.activations};
}

}  // namespace deltaport::tensorrt
