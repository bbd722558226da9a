// Where errors go, one line each: to the logger of the engine that called, or else TensorRT's own,
// or else, as with a TensorRT of another version than this was built for, to standard error.
#pragma once

#include <NvInferRuntime.h>

#include <exception>

namespace deltaport::tensorrt {

void set_logger_finder(nvinfer1::ILoggerFinder* finder);

// "deltaport: <op>: <what>".
void log_error(const char* op, const char* what) noexcept;

// What body returns, or `failed` where it throws: no exception may leave a plugin.
template <class Result, class Body>
Result guard(const char* op, Result failed, const Body& body) noexcept {
  try {
    return body();
  } catch (const std::exception& error) {
    log_error(op, error.what());
  } catch (...) {
    log_error(op, "something was thrown that says nothing of itself");
  }
  return failed;
}

}  // namespace deltaport::tensorrt
