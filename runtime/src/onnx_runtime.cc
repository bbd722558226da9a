#include "onnx_runtime.h"

#include <algorithm>
#include <dlfcn.h>

#include <map>
#include <mutex>

#include "errors.h"

namespace deltaport {

namespace {

using GetApiBase = const ort::ApiBase* (*)();
using RegisterCustomOps = ort::Status* (*)(ort::SessionOptions*, const ort::ApiBase*);

void* load_library(const std::string& library, const char* remedy) {
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* const why = dlerror();
    throw EngineError(library + ": cannot be loaded: " + (why ? why : "unknown") + "; " + remedy);
  }
  return handle;
}

const ort::ApiBase* find_base(const std::string& library) {
  void* const handle = load_library(library, "install onnxruntime, or name its library");
  const auto get = reinterpret_cast<GetApiBase>(dlsym(handle, "OrtGetApiBase"));
  const ort::ApiBase* const base = get == nullptr ? nullptr : get();
  if (base == nullptr) {
    throw EngineError(library + ": not ONNX Runtime: it has no OrtGetApiBase; name libonnxruntime");
  }
  if (base->get_api(ort::kApiVersion) == nullptr) {
    throw EngineError(library + ": ONNX Runtime " + base->version_string() +
                      " has no interface of version " + std::to_string(ort::kApiVersion) +
                      "; install onnxruntime 1.24 or a later 1.x");
  }
  return base;
}

}  // namespace

ort::TensorType onnx_type(ElementType type) {
  switch (type) {
    case ElementType::float32: return ort::kFloat32;
    case ElementType::float16: return ort::kFloat16;
    case ElementType::bfloat16: return ort::kBFloat16;
    case ElementType::int64: return ort::kInt64;
  }
  return ort::kUndefined;
}

OnnxRuntime::OnnxRuntime(const std::string& library)
    : base_(find_base(library)), api_(base_->get_api(ort::kApiVersion)) {
  check(api_.create_env(ort::kLogErrors, "deltaport", &env_));
  check(api_.create_cpu_memory_info(ort::kArenaAllocator, ort::kDefaultMemory, &cpu_));
}

const OnnxRuntime& OnnxRuntime::load(const std::string& library) {
  static std::mutex mutex;
  // Never destroyed: sessions may outlive everything else at the end of a process.
  static auto& loaded = *new std::map<std::string, std::unique_ptr<OnnxRuntime>>;
  const std::lock_guard lock(mutex);
  std::unique_ptr<OnnxRuntime>& found = loaded[library];
  if (found == nullptr) found.reset(new OnnxRuntime(library));
  return *found;
}

std::string OnnxRuntime::message(ort::Status* status) const {
  if (status == nullptr) return "";
  const std::string text = api_.error_message(status);
  api_.release_status(status);
  const std::string line = text.substr(0, text.find('\n'));
  return line.empty() ? "unknown error" : line;
}

void OnnxRuntime::check(ort::Status* status) const {
  if (status != nullptr) throw EngineError(message(status));
}

std::vector<std::string> OnnxRuntime::providers() const {
  char** names = nullptr;
  int count = 0;
  check(api_.available_providers(&names, &count));
  const std::vector<std::string> found(names, names + count);
  check(api_.release_available_providers(names, count));
  return found;
}

void OnnxRuntime::register_kernels(ort::SessionOptions* options, const std::string& library) const {
  void* const handle = load_library(library, "reinstall deltaport, or name its kernels");
  const auto add = reinterpret_cast<RegisterCustomOps>(dlsym(handle, "RegisterCustomOps"));
  if (add == nullptr) throw EngineError(library + ": not deltaport's kernels; name ort_kernels.so");
  const std::string problem = message(add(options, base_));
  if (!problem.empty()) throw EngineError(library + ": cannot be loaded: " + problem);
}

TensorView::TensorView(const OnnxRuntime& ort, void* data, ElementType type,
                       std::span<const int64_t> shape)
    : ort_(&ort) {
  size_t bytes = item_size(type);
  for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
  ort.check(ort.api().create_tensor(ort.cpu(), data, bytes, shape.data(), shape.size(),
                                    onnx_type(type), &value_));
}

TensorView& TensorView::operator=(TensorView&& other) noexcept {
  std::swap(ort_, other.ort_);
  std::swap(value_, other.value_);
  return *this;
}

TensorView::~TensorView() {
  if (value_ != nullptr) ort_->api().release_value(value_);
}

ort::Value* TensorView::release() {
  ort::Value* const value = value_;
  value_ = nullptr;
  return value;
}

ort::Value* KeptTensor::over(const OnnxRuntime& ort, void* data, ElementType type,
                             std::initializer_list<int64_t> shape) {
  if (data != data_ || !std::equal(shape.begin(), shape.end(), shape_.begin())) {
    view_ = TensorView(ort, data, type, std::span(shape));
    data_ = data;
    std::copy(shape.begin(), shape.end(), shape_.begin());
  }
  return view_.get();
}

}  // namespace deltaport
