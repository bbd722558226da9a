#include "tensorrt_adapter/plugin.h"

#include <new>
#include <stdexcept>
#include <utility>

#include "tensorrt_adapter/library.h"
#include "tensorrt_adapter/log.h"
#include "tensorrt_adapter/output_shape.h"
#include "tensorrt_adapter/tensor_types.h"

namespace deltaport::tensorrt {

namespace {

using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::PluginCapabilityType;

// Of inputs, then outputs.
template <class Desc, class DimsOf>
std::vector<Dims> all_dims(const Desc* inputs, size_t input_count, const Desc* outputs,
                           size_t output_count, const DimsOf& dims_of) {
  std::vector<Dims> dims;
  for (size_t i = 0; i < input_count; ++i) dims.push_back(dims_of(inputs[i]));
  for (size_t i = 0; i < output_count; ++i) dims.push_back(dims_of(outputs[i]));
  return dims;
}

// Dimensions that are known while a graph is read; below 0 where they are not.
Dims constants_of(const DimsExprs& shape) {
  Dims dims{};
  dims.nbDims = shape.nbDims;
  for (int32_t i = 0; i < shape.nbDims; ++i) dims.d[i] = shape.d[i]->getConstantValue();
  return dims;
}

}  // namespace

Plugin::Plugin(const Op& op, Attributes attributes)
    : op_(op), attributes_(std::move(attributes)), collection_{} {}

// 0, or where body throws the status of a failure.
template <class Body>
int32_t Plugin::status(const Body& body) const noexcept {
  return guard(name(), -1, [&] { return body(), 0; });
}

nvinfer1::IPluginCapability* Plugin::getCapabilityInterface(PluginCapabilityType type) noexcept {
  switch (type) {
    case PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

Plugin* Plugin::clone() noexcept {
  return guard<Plugin*>(name(), nullptr, [&] { return new Plugin(op_, attributes_); });
}

const char* Plugin::getPluginName() const noexcept { return name(); }
const char* Plugin::getPluginVersion() const noexcept { return kVersion; }
const char* Plugin::getPluginNamespace() const noexcept { return kNamespace; }

int32_t Plugin::getNbOutputs() const noexcept {
  return static_cast<int32_t>(op_.description.outputs.size());
}

// TensorRT asks for every combination it can think of, so a refusal is no error.
bool Plugin::supportsFormatCombination(int32_t position, const DynamicDesc* descs, int32_t inputs,
                                       int32_t outputs) noexcept {
  const size_t at = static_cast<size_t>(position);
  if (static_cast<size_t>(inputs) != op_.signature.input_count || outputs != getNbOutputs()) {
    return false;
  }
  return descs[at].desc.format == nvinfer1::TensorFormat::kLINEAR &&
         takes_type(op_.signature, at, [&](size_t i) { return descs[i].desc.type; });
}

int32_t Plugin::getOutputDataTypes(DataType* output_types, int32_t outputs,
                                   const DataType* input_types, int32_t inputs) const noexcept {
  return status([&] {
    check_counts(inputs, outputs);
    const auto type_of = [&](size_t i) { return input_types[i]; };
    for (size_t i = 0; i < op_.signature.input_count; ++i) check_type(op_.signature, i, type_of);
    for (int32_t i = 0; i < outputs; ++i) {
      output_types[i] = output_type(op_.signature, static_cast<size_t>(i), type_of);
    }
  });
}

int32_t Plugin::getOutputShapes(const DimsExprs* input_shapes, int32_t inputs, const DimsExprs*,
                                int32_t, DimsExprs* output_shapes, int32_t outputs,
                                nvinfer1::IExprBuilder& builder) noexcept {
  return status([&] {
    check_counts(inputs, outputs);
    checked_sizes(all_dims(input_shapes, op_.signature.input_count, input_shapes, 0, constants_of));
    for (int32_t i = 0; i < outputs; ++i) {
      output_shapes[i] =
          output_shape(op_.signature, static_cast<size_t>(i), input_shapes, builder);
    }
  });
}

int32_t Plugin::configurePlugin(const DynamicDesc* input_descs, int32_t inputs,
                                const DynamicDesc* output_descs, int32_t outputs) noexcept {
  return status([&] {
    check_counts(inputs, outputs);
    checked_sizes(all_dims(input_descs, op_.signature.input_count, output_descs,
                           op_.description.outputs.size(),
                           [](const DynamicDesc& desc) { return desc.desc.dims; }));
    // Here a failure can be told; of getWorkspaceSize, which comes next, 0 is an answer.
    largest_workspace(input_descs);
  });
}

size_t Plugin::getWorkspaceSize(const DynamicDesc* input_descs, int32_t, const DynamicDesc*,
                                int32_t) const noexcept {
  return guard(name(), size_t{0}, [&] { return largest_workspace(input_descs); });
}

const char* Plugin::getMetadataString() noexcept { return op_.metadata.c_str(); }

Plugin* Plugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept { return clone(); }

int32_t Plugin::onShapeChange(const Desc* input_descs, int32_t inputs, const Desc* output_descs,
                              int32_t outputs) noexcept {
  return status([&] {
    check_counts(inputs, outputs);
    checked_sizes(all_dims(input_descs, op_.signature.input_count, output_descs,
                           op_.description.outputs.size(),
                           [](const Desc& desc) { return desc.dims; }));
  });
}

int32_t Plugin::enqueue(const Desc* input_descs, const Desc* output_descs,
                        const void* const* inputs, void* const* outputs, void* workspace,
                        cudaStream_t stream) noexcept {
  return status([&] {
    // Once more, because a wrong size here would be memory that is not ours.
    const Sizes sizes = checked_sizes(all_dims(
        input_descs, op_.signature.input_count, output_descs, op_.description.outputs.size(),
        [](const Desc& desc) { return desc.dims; }));
    if (workspace == nullptr) check_needs_none(sizes);
    const ElementType activations =
        activation_type(op_.signature, [&](size_t i) { return input_descs[i].type; });
    const cudaError_t result = op_.description.launch({op_.signature, attributes_, sizes,
                                                       activations, inputs, outputs, workspace,
                                                       stream});
    if (result != cudaSuccess) throw std::runtime_error(cudaGetErrorString(result));
  });
}

const nvinfer1::PluginFieldCollection* Plugin::getFieldsToSerialize() noexcept {
  return guard<const nvinfer1::PluginFieldCollection*>(name(), nullptr, [&] {
    fields_ = attributes_.fields();
    collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
    return &collection_;
  });
}

void Plugin::check_counts(int32_t inputs, int32_t outputs) const {
  if (static_cast<size_t>(inputs) == op_.signature.input_count && outputs == getNbOutputs()) return;
  throw std::invalid_argument("the node has " + std::to_string(inputs) + " inputs and " +
                              std::to_string(outputs) + " outputs, which are not those of " +
                              op_.metadata);
}

Sizes Plugin::checked_sizes(const std::vector<Dims>& dims) const {
  Sizes sizes(op_.signature, dims);
  op_.description.check(sizes, attributes_);
  return sizes;
}

size_t Plugin::workspace_of(const Sizes& most) const {
  return op_.description.workspace == nullptr ? 0 : op_.description.workspace(most, attributes_);
}

// That of the largest call there will be. Of an op without one the inputs' largest dimensions need
// not fit each other.
size_t Plugin::largest_workspace(const DynamicDesc* input_descs) const {
  if (op_.description.workspace == nullptr) return 0;
  return workspace_of(checked_sizes(all_dims(input_descs, op_.signature.input_count, input_descs, 0,
                                             [](const DynamicDesc& desc) { return desc.max; })));
}

void Plugin::check_needs_none(const Sizes& sizes) const {
  const size_t bytes = workspace_of(sizes);
  if (bytes == 0) return;
  throw std::invalid_argument("there is no workspace, but the call needs one of " +
                              std::to_string(bytes) + " bytes");
}

}  // namespace deltaport::tensorrt
