// What TensorRT looks up in a library of plugins. Nothing else is exported, see library.map.
#include "tensorrt_adapter/library.h"

#include <NvInferRuntime.h>

#include <deque>
#include <vector>

#include "tensorrt_adapter/creator.h"
#include "tensorrt_adapter/log.h"

#define DELTAPORT_EXPORT extern "C" __attribute__((visibility("default")))

DELTAPORT_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  deltaport::tensorrt::set_logger_finder(finder);
}

DELTAPORT_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  using deltaport::tensorrt::Creator;
  static std::deque<Creator> creators;  // which stay where they are made: plugins point into them
  static const std::vector<nvinfer1::IPluginCreatorInterface*> pointers = [] {
    std::vector<nvinfer1::IPluginCreatorInterface*> all;
    for (const auto& description : deltaport::tensorrt::describe_ops()) {
      all.push_back(&creators.emplace_back(description));
    }
    return all;
  }();
  count = static_cast<int32_t>(pointers.size());
  return pointers.data();
}
