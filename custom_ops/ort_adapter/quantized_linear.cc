#include "ort_adapter/op_adapter.h"

namespace deltaport::ort {

namespace {

void compute(const OpContext& call, const KernelTable& kernels, const Parallel& parallel) {
  const Dims x = call.dims(0, "x");
  if (x.empty()) call.fail("x is a scalar");
  const int64_t outputs = call.attributes.ints.at("N");
  if (outputs < 1) call.fail("N is " + std::to_string(outputs) + ", expected at least 1");
  Dims y = x;
  y.back() = outputs;
  int64_t tokens = 1;
  for (size_t axis = 0; axis + 1 < x.size(); ++axis) tokens *= x[axis];
  QuantizedLinearArgs args{
      .tokens = tokens,
      .inputs = x.back(),
      .outputs = outputs,
      .x = call.floats(0, "x", x),
      .weight = call.quantized(1, "weight", outputs, x.back()),
      .y = call.output(0, y),
  };
  kernels.quantized.quantized_linear(args, parallel);
}

}  // namespace

OpDescription describe_quantized_linear() {
  return {.name = "QuantizedLinear",
          .inputs = {Port::kFloats, Port::kCodes, Port::kScales},
          .outputs = 1,
          .defaults = {},
          .required = {"N"},
          .required_floats = {},
          .compute = compute};
}

}  // namespace deltaport::ort
