// How TensorRT finds the ops of this library.
//
// A node of an ONNX graph becomes a plugin by its op type, its domain, which is the plugin's
// namespace, and "1" for a version. 
#pragma once

namespace deltaport::tensorrt {

constexpr const char* kNamespace = "ai.deltaport";
constexpr const char* kVersion = "1";

}  // namespace deltaport::tensorrt
