#include "ort_adapter/op_adapter.h"

namespace deltaport::ort {

namespace {

void compute(const OpContext& call, const KernelTable& kernels, const Parallel& parallel) {
  const Dims gate_up = call.dims(0, "gate_up", 3);
  if (gate_up[2] % 2 != 0) call.fail("gate_up has an odd last dimension");
  const int64_t inner = gate_up[2] / 2;
  SwiGLUArgs args{
      .tokens = gate_up[0] * gate_up[1],
      .inner = inner,
      .gate_up = call.floats(0, "gate_up", gate_up),
      .y = call.output(0, {gate_up[0], gate_up[1], inner}),
  };
  kernels.swiglu(args, parallel);
}

}  // namespace

OpDescription describe_swiglu() {
  return {.name = "SwiGLU",
          .inputs = {Port::kFloats},
          .outputs = 1,
          .defaults = {},
          .required = {},
          .required_floats = {},
          .compute = compute};
}

}  // namespace deltaport::ort
