#include "ort_adapter/op_adapter.h"

namespace deltaport::ort {

namespace {

void compute(const OpContext& call, const KernelTable& kernels, const Parallel& parallel) {
  const Dims ids = call.dims(0, "ids");
  const int64_t width = call.attributes.ints.at("width");
  if (width < 1) call.fail("width is " + std::to_string(width) + ", expected at least 1");
  int64_t tokens = 1;
  for (const int64_t size : ids) tokens *= size;
  const int64_t rows = kTileOutputs * call.dims(1, "weight", 4)[0];
  const int64_t* chosen = call.ints(0, "ids", ids);
  for (int64_t t = 0; t < tokens; ++t) {
    if (chosen[t] < 0 || chosen[t] >= rows) {
      call.fail("an id is " + std::to_string(chosen[t]) + ", expected 0 to " +
                std::to_string(rows - 1));
    }
  }
  Dims y = ids;
  y.push_back(width);
  const QuantizedGatherArgs args{
      .tokens = tokens,
      .width = width,
      .ids = chosen,
      .weight = call.quantized(1, "weight", rows, width),
      .y = call.output(0, y),
  };
  kernels.quantized_gather(args, parallel);
}

}  // namespace

OpDescription describe_quantized_gather() {
  return {.name = "QuantizedGather",
          .inputs = {Port::kInts, Port::kCodes, Port::kScales},
          .outputs = 1,
          .defaults = {},
          .required = {"width"},
          .required_floats = {},
          .compute = compute};
}

}  // namespace deltaport::ort
