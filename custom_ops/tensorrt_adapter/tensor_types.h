// The types that the tensors of a call have, and those that ports take.
#pragma once

#include <NvInferRuntime.h>

#include <functional>

#include "simd/element_type.h"
#include "tensorrt_adapter/signature.h"

namespace deltaport::tensorrt {

using TypeOf = std::function<nvinfer1::DataType(size_t port)>;

// Whether a port takes the type that its tensor has. All activations are of the first one's type.
bool takes_type(const Signature& signature, size_t port, const TypeOf& type_of);
// Throws std::invalid_argument unless it does.
void check_type(const Signature& signature, size_t port, const TypeOf& type_of);

// The type of an output, by its number, where inputs have these types.
nvinfer1::DataType output_type(const Signature& signature, size_t output, const TypeOf& type_of);

// That of the activations, float32 for ops without. Throws std::invalid_argument where no kernel
// has it.
ElementType activation_type(const Signature& signature, const TypeOf& type_of);

}  // namespace deltaport::tensorrt
