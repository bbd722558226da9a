#include "tensorrt_adapter/op.h"

#include <utility>

namespace deltaport::tensorrt {

namespace {

const char* name_of(Type type) {
  switch (type) {
    case Type::kActivation:
      return "activation";
    case Type::kBFloat16:
      return "bfloat16";
    case Type::kInt64:
      return "int64";
    case Type::kInt8:
      return "int8";
    default:
      return "float32";
  }
}

std::string text_of(const std::vector<Port>& ports) {
  std::string text;
  for (const Port& port : ports) {
    if (!text.empty()) text += ", ";
    text += std::string(name_of(port.type)) + " " + port.name + "[" + port.shape + "]";
  }
  return "(" + text + ")";
}

}  // namespace

Op::Op(OpDescription given)
    : description(std::move(given)),
      signature(description.inputs, description.outputs),
      metadata(description.name + text_of(description.inputs) + " -> " +
               text_of(description.outputs)) {}

}  // namespace deltaport::tensorrt
