// A call of an op as its kernel is to be launched.
#pragma once

#include <NvInferRuntime.h>

#include <stdexcept>
#include <string>

#include "simd/element_type.h"
#include "tensorrt_adapter/attributes.h"
#include "tensorrt_adapter/sizes.h"

namespace deltaport::tensorrt {

struct Call {
  const Signature& signature;
  const Attributes& attributes;
  const Sizes& sizes;
  ElementType activations;
  const void* const* inputs;
  void* const* outputs;
  void* workspace;
  cudaStream_t stream;

  template <class Element>
  const Element* input(const char* name) const {
    return static_cast<const Element*>(inputs[port(name)]);
  }
  template <class Element>
  Element* output(const char* name) const {
    return static_cast<Element*>(outputs[port(name) - signature.input_count]);
  }

 private:
  size_t port(const std::string& name) const {
    for (size_t i = 0; i < signature.ports.size(); ++i) {
      if (name == signature.ports[i].name) return i;
    }
    throw std::logic_error("there is no port " + name);
  }
};

// launch.template operator()<Element>() for the type of the call's activations.
template <class Launch>
auto with_activations(const Call& call, const Launch& launch) {
  switch (call.activations) {
    case ElementType::kFloat16:
      return launch.template operator()<Float16>();
    case ElementType::kBFloat16:
      return launch.template operator()<BFloat16>();
    default:
      return launch.template operator()<float>();
  }
}

}  // namespace deltaport::tensorrt
