// What TensorRT says, of which the last error is kept.
#pragma once

#include <NvInferRuntime.h>

#include <mutex>
#include <string>

namespace deltaport::device {

class Logger final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    if (severity > Severity::kERROR) return;
    const std::lock_guard lock(mutex_);
    last_.assign(message, 0, std::string_view(message).find('\n'));
  }
  // The last error, or `otherwise`; it is forgotten then.
  std::string take(const char* otherwise) {
    const std::lock_guard lock(mutex_);
    std::string found = last_.empty() ? otherwise : std::move(last_);
    last_.clear();
    return found;
  }

 private:
  std::mutex mutex_;
  std::string last_;
};

}  // namespace deltaport::device
