// What TensorRT looks up in a library of plugins; nothing else is exported.
#include <NvInferRuntime.h>

#include <atomic>
#include <cstdio>
#include <deque>
#include <vector>

#include "tensorrt_adapter/creator.h"
#include "tensorrt_adapter/log.h"

namespace deltaport::tensorrt {

namespace {

std::atomic<nvinfer1::ILoggerFinder*> logger_finder = nullptr;

nvinfer1::ILogger* find_logger() {
  nvinfer1::ILoggerFinder* finder = logger_finder;
  return finder == nullptr ? nullptr : finder->findLogger();
}

}  // namespace

void log_error(const char* op, const char* what) noexcept {
  char line[1024];
  std::snprintf(line, sizeof line, "deltaport: %s: %s", op, what);
  if (nvinfer1::ILogger* logger = find_logger()) {
    logger->log(nvinfer1::ILogger::Severity::kERROR, line);
  } else {  // the error of a plugin that was made without TensorRT
    std::fprintf(stderr, "%s\n", line);
  }
}

}  // namespace deltaport::tensorrt

#define DELTAPORT_EXPORT extern "C" __attribute__((visibility("default")))

DELTAPORT_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  deltaport::tensorrt::logger_finder = finder;
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
