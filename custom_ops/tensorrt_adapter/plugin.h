// A node of an engine that runs an op of ours: what TensorRT calls a plugin, by its interface V3.
//
// An output that is a state's new value is not declared an alias of the state: builders then keep a
// second copy of it for every layer. Kernels take both in one buffer anyway.
#pragma once

#include <NvInferRuntime.h>

#include <vector>

#include "tensorrt_adapter/op.h"

namespace deltaport::tensorrt {

class Plugin final : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime {
 public:
  using DataType = nvinfer1::DataType;
  using DynamicDesc = nvinfer1::DynamicPluginTensorDesc;
  using Desc = nvinfer1::PluginTensorDesc;

  Plugin(const Op& op, Attributes attributes);  // the op outlives it

  nvinfer1::IPluginCapability* getCapabilityInterface(
      nvinfer1::PluginCapabilityType type) noexcept override;
  Plugin* clone() noexcept override;

  const char* getPluginName() const noexcept override;
  const char* getPluginVersion() const noexcept override;
  const char* getPluginNamespace() const noexcept override;

  // While an engine is built.
  int32_t getNbOutputs() const noexcept override;
  bool supportsFormatCombination(int32_t position, const DynamicDesc* descs, int32_t inputs,
                                 int32_t outputs) noexcept override;
  int32_t getOutputDataTypes(DataType* output_types, int32_t outputs, const DataType* input_types,
                             int32_t inputs) const noexcept override;
  int32_t getOutputShapes(const nvinfer1::DimsExprs* input_shapes, int32_t inputs,
                          const nvinfer1::DimsExprs* shape_inputs, int32_t shape_input_count,
                          nvinfer1::DimsExprs* output_shapes, int32_t outputs,
                          nvinfer1::IExprBuilder& builder) noexcept override;
  int32_t configurePlugin(const DynamicDesc* input_descs, int32_t inputs,
                          const DynamicDesc* output_descs, int32_t outputs) noexcept override;
  size_t getWorkspaceSize(const DynamicDesc* input_descs, int32_t inputs,
                          const DynamicDesc* output_descs,
                          int32_t outputs) const noexcept override;
  const char* getMetadataString() noexcept override;

  // While it runs.
  Plugin* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  int32_t onShapeChange(const Desc* input_descs, int32_t inputs, const Desc* output_descs,
                        int32_t outputs) noexcept override;
  int32_t enqueue(const Desc* input_descs, const Desc* output_descs, const void* const* inputs,
                  void* const* outputs, void* workspace, cudaStream_t stream) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override;

 private:
  const char* name() const { return op_.description.name; }
  void check_counts(int32_t inputs, int32_t outputs) const;
  Sizes checked_sizes(const std::vector<nvinfer1::Dims>& dims) const;
  size_t workspace_of(const Sizes& most) const;
  size_t largest_workspace(const DynamicDesc* input_descs) const;
  void check_needs_none(const Sizes& sizes) const;
  template <class Body>
  int32_t status(const Body& body) const noexcept;

  const Op& op_;
  const Attributes attributes_;
  std::vector<nvinfer1::PluginField> fields_;  // what was last given to be serialized
  nvinfer1::PluginFieldCollection collection_;
};

}  // namespace deltaport::tensorrt
