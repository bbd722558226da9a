// Plans that TensorRT has opened.
#pragma once

#include <NvInferRuntime.h>

#include <memory>

#include "device_abi.h"

namespace deltaport::device {

struct Plan {
  std::unique_ptr<nvinfer1::IRuntime> runtime;
  std::unique_ptr<nvinfer1::ICudaEngine> engine;  // of the runtime, and so ended first
};

Plan* open_plan(const char* library, const char* plugins, const char* file, Problem* problem);
void close_plan(Plan* plan);
int32_t tensor_count(const Plan* plan);
Tensor tensor(const Plan* plan, int32_t index);
int32_t profile_count(const Plan* plan);
Shape largest(const Plan* plan, const char* input, int32_t profile);

}  // namespace deltaport::device
