// An op as small as can be that has all that ops may have. y = repeats * x + offset, summed in the
// workspace.
#include <algorithm>

#include "fake_gpu.h"
#include "tensorrt_adapter/op.h"

namespace deltaport::tensorrt {

namespace {

size_t workspace(const Sizes& sizes, const Attributes&) {
  return static_cast<size_t>(sizes["B"] * sizes["C"]) * sizeof(float);
}

constexpr int64_t kThrows = 13;  // repeats

cudaError_t launch(const Call& call) {
  if (call.attributes.whole("repeats") == kThrows) throw kThrows;  // no std::exception
  if (!fake_gpu_begins(call.stream)) return cudaErrorInvalidValue;
  const int64_t count = call.sizes["B"] * call.sizes["C"];
  const float* x = call.input<float>("x");
  float* const sum = static_cast<float*>(call.workspace);
  std::fill_n(sum, count, call.attributes.real("offset"));
  for (int64_t repeat = 0; repeat < call.attributes.whole("repeats"); ++repeat) {
    for (int64_t i = 0; i < count; ++i) sum[i] += x[i];
  }
  std::copy_n(sum, count, call.output<float>("y"));
  fake_gpu_ends();
  return cudaSuccess;
}

}  // namespace

std::vector<OpDescription> describe_ops() {
  return {{.name = "Repeat",
           .inputs = {{"x", Type::kFloat32, "B,C"}},
           .outputs = {{"y", Type::kFloat32, "B,2*C-1"}},
           .attributes = {{.name = "offset",
                           .type = nvinfer1::PluginFieldType::kFLOAT32,
                           .least = -1,
                           .fallback = 0.25},
                          {.name = "repeats",
                           .type = nvinfer1::PluginFieldType::kINT64,
                           .least = 1}},
           .check = [](const Sizes& sizes, const Attributes&) { sizes.require("C", 1, 1); },
           .launch = launch,
           .workspace = workspace}};
}

}  // namespace deltaport::tensorrt
