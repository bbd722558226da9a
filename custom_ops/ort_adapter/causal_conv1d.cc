#include "ort_adapter/op_adapter.h"

namespace deltaport::ort {

namespace {

void compute(const OpContext& call, const KernelTable& kernels, const Parallel& parallel) {
  const Dims x = call.dims(0, "x", 3), weight = call.dims(1, "weight", 2);
  const int64_t rows = x[0], tokens = x[1], channels = x[2], taps = weight[1];
  if (taps < 1) call.fail("weight has no taps");
  const Dims state = {rows, taps - 1, channels};
  CausalConv1dArgs args{
      .rows = rows,
      .tokens = tokens,
      .channels = channels,
      .taps = taps,
      .x = call.floats(0, "x", x),
      .weight = call.weights(1, "weight", {channels, taps}),
      .state = call.floats(2, "state", state),
      .lengths = call.lengths(3, rows, tokens),
      .y = call.output(0, x),
      .new_state = call.output(1, state),
  };
  kernels.causal_conv1d(args, parallel);
}

}  // namespace

OpDescription describe_causal_conv1d() {
  return {.name = "CausalConv1d",
          .inputs = {Port::kFloats, Port::kWeights, Port::kFloats, Port::kInts},
          .outputs = 2,
          .defaults = {},
          .required = {},
          .required_floats = {},
          .compute = compute};
}

}  // namespace deltaport::ort
