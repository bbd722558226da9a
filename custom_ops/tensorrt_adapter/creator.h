// Makes plugins of one op: for nodes of a graph, and again for those of a built engine.
#pragma once

#include <NvInferRuntime.h>

#include <vector>

#include "tensorrt_adapter/op.h"

namespace deltaport::tensorrt {

class Creator final : public nvinfer1::IPluginCreatorV3One {
 public:
  explicit Creator(OpDescription description);

  nvinfer1::IPluginV3* createPlugin(const char* name, const nvinfer1::PluginFieldCollection* fields,
                                    nvinfer1::TensorRTPhase phase) noexcept override;
  // Fields that a node may leave out carry what they then are.
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override;
  const char* getPluginName() const noexcept override;
  const char* getPluginVersion() const noexcept override;
  const char* getPluginNamespace() const noexcept override;

 private:
  const Op op_;
  const Attributes fallbacks_;
  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_;
};

}  // namespace deltaport::tensorrt
