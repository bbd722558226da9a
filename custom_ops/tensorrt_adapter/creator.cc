#include "tensorrt_adapter/creator.h"

#include <utility>

#include "tensorrt_adapter/library.h"
#include "tensorrt_adapter/log.h"
#include "tensorrt_adapter/plugin.h"

namespace deltaport::tensorrt {

Creator::Creator(OpDescription description)
    : op_(std::move(description)),
      fallbacks_(op_.description.attributes),
      fields_(fallbacks_.fields()),
      collection_{static_cast<int32_t>(fields_.size()), fields_.data()} {
  for (size_t i = 0; i < fields_.size(); ++i) {
    if (!op_.description.attributes[i].fallback) fields_[i].data = nullptr;
  }
}

nvinfer1::IPluginV3* Creator::createPlugin(const char*,
                                           const nvinfer1::PluginFieldCollection* fields,
                                           nvinfer1::TensorRTPhase) noexcept {
  return guard<nvinfer1::IPluginV3*>(getPluginName(), nullptr, [&] {
    const nvinfer1::PluginFieldCollection none{};
    return new Plugin(
        op_, Attributes(op_.description.attributes, fields == nullptr ? none : *fields));
  });
}

const nvinfer1::PluginFieldCollection* Creator::getFieldNames() noexcept { return &collection_; }

const char* Creator::getPluginName() const noexcept { return op_.description.name; }
const char* Creator::getPluginVersion() const noexcept { return kVersion; }
const char* Creator::getPluginNamespace() const noexcept { return kNamespace; }

}  // namespace deltaport::tensorrt
