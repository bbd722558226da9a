// What TensorRT looks up in a library of plugins. Nothing else is exported, see library.map.
#include "tensorrt_adapter/library.h"

#include <NvInferRuntime.h>

#include <vector>

#include "tensorrt_adapter/creator.h"
#include "tensorrt_adapter/log.h"

#define DELTAPORT_EXPORT extern "C" __attribute__((visibility("default")))

DELTAPORT_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  deltaport::tensorrt::set_logger_finder(finder);
}

DELTAPORT_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  using deltaport::tensorrt::Creator;
  // Never destroyed: plugins point into their creators, and some live until the process ends.
  static const auto& creators = *[] {
    auto* const all = new std::vector<nvinfer1::IPluginCreatorInterface*>;
    for (const auto& description : deltaport::tensorrt::describe_ops()) {
      all->push_back(new Creator(description));
    }
    return all;
  }();
  count = static_cast<int32_t>(creators.size());
  return creators.data();
}
