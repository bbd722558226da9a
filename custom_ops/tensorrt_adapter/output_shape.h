// Shapes of outputs, of dimensions that may be known only when an engine runs.
#pragma once

#include <NvInferRuntime.h>

#include "tensorrt_adapter/signature.h"

namespace deltaport::tensorrt {

// The shape of an output, by its number, made of sizes that inputs have as dimensions of their own.
// Throws std::invalid_argument where an input has not as many dimensions as its port.
nvinfer1::DimsExprs output_shape(const Signature& signature, size_t output,
                                 const nvinfer1::DimsExprs* inputs,
                                 nvinfer1::IExprBuilder& builder);

}  // namespace deltaport::tensorrt
