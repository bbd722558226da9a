// Attributes of a node, which TensorRT calls the fields of a plugin.
#pragma once

#include <NvInferRuntime.h>

#include <optional>
#include <string>
#include <vector>

namespace deltaport::tensorrt {

struct Attribute {
  const char* name;
  nvinfer1::PluginFieldType type;  // kFLOAT32 or kINT64
  double least;
  std::optional<double> fallback = {};  // of nodes that leave it out; without one they may not
};

// Values of all attributes of an op, whose declaration outlives them.
class Attributes {
 public:
  // The fallbacks, and 0 where there is none.
  explicit Attributes(const std::vector<Attribute>& declared);
  // Throws std::invalid_argument for fields that the op does not have or cannot take.
  Attributes(const std::vector<Attribute>& declared, const nvinfer1::PluginFieldCollection& given);

  float real(const std::string& name) const { return values_[index_of(name)].real; }
  int64_t whole(const std::string& name) const { return values_[index_of(name)].whole; }
  // The fields of which these attributes are made again. They point into this object.
  std::vector<nvinfer1::PluginField> fields() const;

 private:
  struct Value {
    float real;
    int64_t whole;
  };
  size_t index_of(const std::string& name) const;
  void read(size_t index, const nvinfer1::PluginField& field);

  const std::vector<Attribute>* declared_;
  std::vector<Value> values_;
};

}  // namespace deltaport::tensorrt
