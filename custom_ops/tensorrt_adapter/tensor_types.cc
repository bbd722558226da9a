#include "tensorrt_adapter/tensor_types.h"

#include <optional>
#include <stdexcept>
#include <string>

namespace deltaport::tensorrt {

namespace {

using nvinfer1::DataType;

const char* name_of(DataType type) {
  switch (type) {
    case DataType::kFLOAT:
      return "float32";
    case DataType::kHALF:
      return "float16";
    case DataType::kBF16:
      return "bfloat16";
    case DataType::kINT8:
      return "int8";
    case DataType::kUINT8:
      return "uint8";
    case DataType::kINT32:
      return "int32";
    case DataType::kINT64:
      return "int64";
    default:
      return "of another type";
  }
}

std::optional<ElementType> element_type(DataType type) {
  switch (type) {
    case DataType::kFLOAT:
      return ElementType::kFloat32;
    case DataType::kHALF:
      return ElementType::kFloat16;
    case DataType::kBF16:
      return ElementType::kBFloat16;
    default:
      return std::nullopt;
  }
}

// The number of ports where none is one.
size_t first_activation(const Signature& signature) {
  size_t port = 0;
  while (port < signature.ports.size() && signature.ports[port].type != Type::kActivation) ++port;
  return port;
}

// What a port takes; nothing for the first activation, which may have any type kernels have.
std::optional<DataType> type_of_port(const Signature& signature, size_t port,
                                     const TypeOf& type_of) {
  switch (signature.ports[port].type) {
    case Type::kFloat32:
      return DataType::kFLOAT;
    case Type::kBFloat16:
      return DataType::kBF16;
    case Type::kInt64:
      return DataType::kINT64;
    case Type::kInt8:
      return DataType::kINT8;
    default:
      const size_t first = first_activation(signature);
      return port == first ? std::nullopt : std::optional(type_of(first));
  }
}

}  // namespace

bool takes_type(const Signature& signature, size_t port, const TypeOf& type_of) {
  const DataType found = type_of(port);
  const std::optional<DataType> expected = type_of_port(signature, port, type_of);
  return expected.has_value() ? found == *expected : element_type(found).has_value();
}

void check_type(const Signature& signature, size_t port, const TypeOf& type_of) {
  if (takes_type(signature, port, type_of)) return;
  const std::optional<DataType> expected = type_of_port(signature, port, type_of);
  throw std::invalid_argument(std::string(signature.ports[port].name) + " is " +
                              name_of(type_of(port)) + ", but has to be " +
                              (expected ? name_of(*expected) : "float32, bfloat16 or float16"));
}

DataType output_type(const Signature& signature, size_t output, const TypeOf& type_of) {
  return *type_of_port(signature, signature.input_count + output, type_of);
}

ElementType activation_type(const Signature& signature, const TypeOf& type_of) {
  const size_t first = first_activation(signature);
  if (first == signature.ports.size()) return ElementType::kFloat32;
  check_type(signature, first, type_of);
  return *element_type(type_of(first));
}

}  // namespace deltaport::tensorrt
