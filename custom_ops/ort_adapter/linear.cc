#include "ort_adapter/op_adapter.h"

namespace deltaport::ort {

namespace {

void compute(const OpContext& call, const KernelTable& kernels, const Parallel& parallel) {
  const Dims x = call.dims(0, "x"), weight = call.dims(1, "weight", 2);
  if (x.empty()) call.fail("x is a scalar");
  Dims y = x;
  y.back() = weight[0];
  int64_t tokens = 1;
  for (size_t axis = 0; axis + 1 < x.size(); ++axis) tokens *= x[axis];
  LinearArgs args{
      .tokens = tokens,
      .inputs = x.back(),
      .outputs = weight[0],
      .x = call.floats(0, "x", x),
      .weight = call.weights(1, "weight", {weight[0], x.back()}),
      .y = call.output(0, y),
  };
  kernels.linear(args, parallel);
}

}  // namespace

OpDescription describe_linear() {
  return {.name = "Linear",
          .inputs = {Port::kFloats, Port::kWeights},
          .outputs = 1,
          .defaults = {},
          .required = {},
          .required_floats = {},
          .compute = compute};
}

}  // namespace deltaport::ort
