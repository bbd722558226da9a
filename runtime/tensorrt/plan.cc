#include "plan.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "logger.h"
#include "problem.h"

namespace deltaport::device {

namespace {

using GetVersion = int32_t (*)() noexcept;
using CreateRuntime = void* (*)(void* logger, int32_t version) noexcept;

// A file's bytes, read as they are looked at.
class MappedFile {
 public:
  explicit MappedFile(const char* path) {
    errno = 0;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat facts {};
    if (file >= 0 && fstat(file, &facts) == 0) {
      size_ = static_cast<size_t>(facts.st_size);
      if (size_ != 0) data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    }
    problem_ = errno;
    if (file >= 0) close(file);
  }
  ~MappedFile() {
    if (data_ != MAP_FAILED) munmap(data_, size_);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const void* data() const { return data_ == MAP_FAILED ? nullptr : data_; }
  size_t size() const { return size_; }
  // Why there is no data.
  const char* problem() const { return problem_ == 0 ? "is empty" : std::strerror(problem_); }

 private:
  void* data_ = MAP_FAILED;
  size_t size_ = 0;
  int problem_ = 0;
};

std::string text_of(int32_t version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100);
}

// TensorRT's classes are the same from a version to later ones of the same major one.
bool check_version(void* library, const char* name, Problem* problem) {
  const auto version = reinterpret_cast<GetVersion>(dlsym(library, "getInferLibVersion"));
  if (version == nullptr) return fail(problem, name, "is no library of TensorRT");
  const int32_t found = version(), built = NV_TENSORRT_VERSION;
  if (found / 10000 == built / 10000 && found / 100 >= built / 100) return true;
  const std::string why = "is version " + text_of(found) + ", libdeltaport_tensorrt.so was built for " +
                          text_of(built) + "; build it with the headers of the one that is here";
  return fail(problem, name, why.c_str());
}

// Asks CUDA for a GPU with a driver.
bool find_gpu(Problem* problem) {
  int count = 0;
  if (!succeed(cudaGetDeviceCount(&count), "there is no NVIDIA GPU to run it", problem)) return false;
  return count > 0 || fail(problem, "there is no NVIDIA GPU to run it", "none is visible");
}

bool open_runtime(Plan* plan, const char* name, Problem* problem) {
  void* const library = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    const char* const why = dlerror();
    return fail(problem, "TensorRT cannot be loaded", why == nullptr ? name : why);
  }
  // TensorRT's own words for the want of a GPU are many.
  if (!check_version(library, name, problem) || !find_gpu(problem)) return false;
  const auto create =
      reinterpret_cast<CreateRuntime>(dlsym(library, "createInferRuntime_INTERNAL"));
  if (create == nullptr) return fail(problem, name, "has no createInferRuntime_INTERNAL");
  Logger::get().begin();
  plan->runtime.reset(
      static_cast<nvinfer1::IRuntime*>(create(&Logger::get(), NV_TENSORRT_VERSION)));
  if (plan->runtime != nullptr) return true;
  return fail(problem, name, Logger::get().found("does not start").c_str());
}

bool open_engine(Plan* plan, const char* plugins, const char* path, Problem* problem) {
  Logger::get().begin();
  if (plan->runtime->getPluginRegistry().loadLibrary(plugins) == nullptr) {
    return fail(problem, plugins, Logger::get().found("its plugins cannot be loaded").c_str());
  }
  const MappedFile file(path);
  if (file.data() == nullptr) return fail(problem, "cannot be read", file.problem());
  Logger::get().begin();
  plan->engine.reset(plan->runtime->deserializeCudaEngine(file.data(), file.size()));
  if (plan->engine != nullptr) return true;
  return fail(problem, "TensorRT refuses it", Logger::get().found("it does not say why").c_str());
}

int32_t onnx_type(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT: return 1;
    case nvinfer1::DataType::kINT32: return 6;
    case nvinfer1::DataType::kINT64: return 7;
    case nvinfer1::DataType::kHALF: return 10;
    case nvinfer1::DataType::kBF16: return 16;
    default: return 0;
  }
}

Shape shape_of(const nvinfer1::Dims& dims) {
  Shape shape{std::clamp(dims.nbDims, -1, kMostDimensions), {}};
  for (int32_t i = 0; i < shape.rank; ++i) shape.sizes[i] = dims.d[i];
  return shape;
}

}  // namespace

Plan* open_plan(const char* library, const char* plugins, const char* file, Problem* problem) {
  auto plan = std::make_unique<Plan>();
  const bool opened = open_runtime(plan.get(), library, problem) &&
                      open_engine(plan.get(), plugins, file, problem);
  return opened ? plan.release() : nullptr;
}

void close_plan(Plan* plan) { delete plan; }

int32_t tensor_count(const Plan* plan) { return plan->engine->getNbIOTensors(); }

Tensor tensor(const Plan* plan, int32_t index) {
  const nvinfer1::ICudaEngine& engine = *plan->engine;
  const char* const name = engine.getIOTensorName(index);
  return {name, onnx_type(engine.getTensorDataType(name)),
          engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT,
          shape_of(engine.getTensorShape(name))};
}

int32_t profile_count(const Plan* plan) { return plan->engine->getNbOptimizationProfiles(); }

Shape largest(const Plan* plan, const char* input, int32_t profile) {
  return shape_of(
      plan->engine->getProfileShape(input, profile, nvinfer1::OptProfileSelector::kMAX));
}

}  // namespace deltaport::device
