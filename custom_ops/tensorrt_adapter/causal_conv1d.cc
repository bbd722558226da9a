#include "kernels/causal_conv1d/cuda.h"

#include "tensorrt_adapter/op.h"

namespace deltaport::tensorrt {

namespace {

namespace kernels = DELTAPORT_ISA;

void check(const Sizes& sizes, const Attributes&) { sizes.require("K", 2, 4); }

template <class Element>
cudaError_t launch(const Call& call) {
  const kernels::ConvArgs<Element> args{
      .rows = call.sizes["B"],
      .tokens = call.sizes["T"],
      .channels = call.sizes["C"],
      .taps = call.sizes["K"],
      .x = call.input<Element>("x"),
      .weight = call.input<Element>("weight"),
      .state = call.input<Element>("state"),
      .lengths = call.input<int64_t>("lengths"),
      .y = call.output<Element>("y"),
      .new_state = call.output<Element>("new_state"),
  };
  return kernels::run_convolution(args, call.stream);
}

}  // namespace

OpDescription describe_causal_conv1d() {
  return {.name = "CausalConv1d",
          .inputs = {{"x", Type::kActivation, "B,T,C"},
                     {"weight", Type::kActivation, "C,K"},
                     {"state", Type::kActivation, "B,K-1,C"},
                     {"lengths", Type::kInt64, "B"}},
          .outputs = {{"y", Type::kActivation, "B,T,C"},
                      {"new_state", Type::kActivation, "B,K-1,C"}},
          .attributes = {},
          .check = check,
          .launch = [](const Call& call) {
            return with_activations(call, [&]<class Element>() { return launch<Element>(call); });
          }};
}

}  // namespace deltaport::tensorrt
