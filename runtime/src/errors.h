// The errors of the runtime. A message is one line that names what was found, what was expected and
// what to do; the kinds are those of Python's deltaport.errors.
#pragma once

#include <stdexcept>
#include <string>

namespace deltaport {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// An engine folder, or the ONNX Runtime under it, is not what it must be; or a step failed.
class EngineError : public Error {
 public:
  using Error::Error;
};

// An argument is out of range.
class InputError : public Error {
 public:
  using Error::Error;
};

// A sequence would outgrow its context, or memory.
class CapacityError : public InputError {
 public:
  using InputError::InputError;
};

// A file could not be written; what was there is there still.
class OutputError : public Error {
 public:
  using Error::Error;
};

// A step was cancelled by another thread; everything is as it was before it.
class StepCancelledError : public Error {
 public:
  using Error::Error;
};

}  // namespace deltaport
