// What TensorRT says, of which the first error of a call is kept: those after it tell what it led to.
#pragma once

#include <NvInferRuntime.h>

#include <string>

namespace deltaport::device {

// There is one, which is never destroyed: TensorRT goes on using the first logger it is given, of
// whichever runtime, as long as any runtime lives.
class Logger final : public nvinfer1::ILogger {
 public:
  static Logger& get();

  void log(Severity severity, const char* message) noexcept override;
  // Of this thread: forgets what was said until now.
  void begin();
  // The first error said in this thread since, or `otherwise`.
  std::string found(const char* otherwise) const;
};

}  // namespace deltaport::device
