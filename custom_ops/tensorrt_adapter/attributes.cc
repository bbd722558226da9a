#include "tensorrt_adapter/attributes.h"

#include <cmath>
#include <cstring>
#include <sstream>
#include <stdexcept>

namespace deltaport::tensorrt {

namespace {

bool is_real(const Attribute& attribute) {
  return attribute.type == nvinfer1::PluginFieldType::kFLOAT32;
}

// An int of a node is 64 bits wide, but the parser of TensorRT for RTX 1.7 makes 32 of them.
bool takes(const Attribute& attribute, nvinfer1::PluginFieldType type) {
  return type == attribute.type ||
         (!is_real(attribute) && type == nvinfer1::PluginFieldType::kINT32);
}

}  // namespace

Attributes::Attributes(const std::vector<Attribute>& declared) : declared_(&declared) {
  for (const Attribute& attribute : declared) {
    const double value = attribute.fallback.value_or(0);
    values_.push_back({static_cast<float>(value), static_cast<int64_t>(value)});
  }
}

Attributes::Attributes(const std::vector<Attribute>& declared,
                       const nvinfer1::PluginFieldCollection& given)
    : Attributes(declared) {
  std::vector<bool> has_value;
  for (const Attribute& attribute : declared) has_value.push_back(attribute.fallback.has_value());
  for (int32_t i = 0; i < given.nbFields; ++i) {
    const size_t index = index_of(given.fields[i].name);
    read(index, given.fields[i]);
    has_value[index] = true;
  }
  for (size_t i = 0; i < declared.size(); ++i) {
    if (!has_value[i]) {
      throw std::invalid_argument(std::string("the attribute ") + declared[i].name + " is missing");
    }
  }
}

std::vector<nvinfer1::PluginField> Attributes::fields() const {
  std::vector<nvinfer1::PluginField> fields;
  for (size_t i = 0; i < values_.size(); ++i) {
    const Attribute& attribute = (*declared_)[i];
    const void* data = &values_[i].whole;
    if (is_real(attribute)) data = &values_[i].real;
    fields.emplace_back(attribute.name, data, attribute.type, 1);
  }
  return fields;
}

size_t Attributes::index_of(const std::string& name) const {
  for (size_t i = 0; i < declared_->size(); ++i) {
    if (name == (*declared_)[i].name) return i;
  }
  throw std::invalid_argument("there is no attribute " + name);
}

void Attributes::read(size_t index, const nvinfer1::PluginField& field) {
  const Attribute& attribute = (*declared_)[index];
  if (!takes(attribute, field.type) || field.length != 1 || field.data == nullptr) {
    throw std::invalid_argument(std::string("the attribute ") + attribute.name + " is not one " +
                                (is_real(attribute) ? "float" : "int64 or int32"));
  }
  Value& value = values_[index];
  if (is_real(attribute)) {
    std::memcpy(&value.real, field.data, sizeof value.real);
  } else if (field.type == nvinfer1::PluginFieldType::kINT32) {
    int32_t narrow = 0;
    std::memcpy(&narrow, field.data, sizeof narrow);
    value.whole = narrow;
  } else {
    std::memcpy(&value.whole, field.data, sizeof value.whole);
  }
  const double number = is_real(attribute) ? value.real : static_cast<double>(value.whole);
  if (!(number >= attribute.least) || std::isinf(number)) {
    std::ostringstream text;
    text << "the attribute " << attribute.name << " is " << number
         << ", but has to be finite and at least " << attribute.least;
    throw std::invalid_argument(text.str());
  }
}

}  // namespace deltaport::tensorrt
