#include "ort_adapter/op_adapter.h"

namespace deltaport::ort {

namespace {

void compute(const OpContext& call, const KernelTable& kernels, const Parallel& parallel) {
  const Dims x = call.dims(0, "x", 3);
  AddRMSNormArgs args{
      .tokens = x[0] * x[1],
      .hidden = x[2],
      .x = call.floats(0, "x", x),
      .residual = call.floats(1, "residual", x),
      .scale = call.floats(2, "scale", {x[2]}),
      .norm_eps = call.attributes.floats.at("norm_eps"),
      .y = call.output(0, x),
      .sum = call.output(1, x),
  };
  kernels.add_rms_norm(args, parallel);
}

}  // namespace

OpDescription describe_add_rms_norm() {
  return {.name = "AddRMSNorm",
          .inputs = {Port::kFloats, Port::kFloats, Port::kFloats},
          .outputs = 2,
          .defaults = {.floats = {{"norm_eps", 1e-6f}}, .ints = {}},
          .required = {},
          .required_floats = {},
          .compute = compute};
}

}  // namespace deltaport::ort
