#include "tensorrt_adapter/log.h"

#include <atomic>
#include <cstdio>

// Null where TensorRT is not there for all of a program to see: nothing of TensorRT is needed to
// link or load this library.
extern "C" __attribute__((weak)) nvinfer1::ILogger* getLogger() noexcept;

namespace deltaport::tensorrt {

namespace {

std::atomic<nvinfer1::ILoggerFinder*> logger_finder = nullptr;

nvinfer1::ILogger* find_logger() {
  nvinfer1::ILoggerFinder* const finder = logger_finder;
  if (finder != nullptr) return finder->findLogger();
  return getLogger == nullptr ? nullptr : getLogger();
}

}  // namespace

void set_logger_finder(nvinfer1::ILoggerFinder* finder) { logger_finder = finder; }

void log_error(const char* op, const char* what) noexcept {
  char line[1024];
  std::snprintf(line, sizeof line, "deltaport: %s: %s", op, what);
  if (nvinfer1::ILogger* logger = find_logger()) {
    logger->log(nvinfer1::ILogger::Severity::kERROR, line);
  } else {
    std::fprintf(stderr, "%s\n", line);
  }
}

}  // namespace deltaport::tensorrt
