// The ONNX Runtime library, found at run time: nothing is linked, so that one build serves every
// version that has the interface we use.
#pragma once

#include <array>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ort_adapter/ort_abi.h"
#include "state_layout.h"

namespace deltaport {

// ONNX's number for an element type.
ort::TensorType onnx_type(ElementType type);

class OnnxRuntime {
 public:
  // Loads `library`: a path, or a name that the dynamic linker finds. A library is loaded once and
  // stays. Throws EngineError for one that is missing, no ONNX Runtime, or too old.
  static const OnnxRuntime& load(const std::string& library);

  const ort::Api& api() const { return api_; }
  const ort::ApiBase& base() const { return *base_; }
  const ort::Env* env() const { return env_; }
  const ort::MemoryInfo* cpu() const { return cpu_; }

  // Throws EngineError with the first line of what a call complains of; takes the status over.
  void check(ort::Status* status) const;
  // The same message without throwing; empty for success.
  std::string message(ort::Status* status) const;
  // The execution providers that this build has.
  std::vector<std::string> providers() const;
  // Lets sessions made with `options` run the ops of a library of kernels.
  void register_kernels(ort::SessionOptions* options, const std::string& library) const;

 private:
  explicit OnnxRuntime(const std::string& library);

  const ort::ApiBase* base_;
  ort::Api api_;
  ort::Env* env_ = nullptr;
  ort::MemoryInfo* cpu_ = nullptr;
};

// A tensor over memory that the caller keeps.
class TensorView {
 public:
  TensorView() = default;
  TensorView(const OnnxRuntime& ort, void* data, ElementType type, std::span<const int64_t> shape);
  TensorView(TensorView&& other) noexcept : ort_(other.ort_), value_(other.release()) {}
  TensorView& operator=(TensorView&& other) noexcept;
  ~TensorView();

  ort::Value* get() const { return value_; }

 private:
  ort::Value* release();

  const OnnxRuntime* ort_ = nullptr;
  ort::Value* value_ = nullptr;
};

// One that is made anew only where data or shape, of up to three dimensions, are not the last ones.
class KeptTensor {
 public:
  ort::Value* over(const OnnxRuntime& ort, void* data, ElementType type,
                   std::initializer_list<int64_t> shape);

 private:
  TensorView view_;
  void* data_ = nullptr;
  std::array<int64_t, 3> shape_{};
};

}  // namespace deltaport
