// A TensorRT whose plans are ONNX graphs, run by onnxruntime on the memory of the fake GPU. It aborts
// where it is used otherwise than TensorRT may be, and refuses what TensorRT refuses.
//
// A plan is a line "fake plan SLOTS PREFILL_TOKENS" and the graph. Settings: FAKE_TENSORRT_ORT (the
// library of onnxruntime), FAKE_TENSORRT_VERSION, FAKE_TENSORRT_REFUSES (no plan is taken),
// FAKE_TENSORRT_NO_PLUGINS (nor any library of plugins), FAKE_TENSORRT_FAILS (no run goes well),
// FAKE_TENSORRT_MILLISECONDS (what a run takes).
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cuda.h"
#include "onnx_graph.h"
#include "stubs.h"  // made of TensorRT's headers: classes whose functions abort

namespace {

using namespace nvinfer1;
using namespace fake;
namespace ort = deltaport::ort;

DataType type_of(ort::TensorType type) {
  switch (type) {
    case ort::kFloat32: return DataType::kFLOAT;
    case ort::kFloat16: return DataType::kHALF;
    case ort::kBFloat16: return DataType::kBF16;
    case ort::kInt64: return DataType::kINT64;
    default: return DataType::kINT8;
  }
}

Dims dims_of(const std::vector<int64_t>& shape) {
  Dims dims{};
  dims.nbDims = static_cast<int32_t>(shape.size());
  std::ranges::copy(shape, dims.d);
  return dims;
}

bool is_set(const char* name) { return std::getenv(name) != nullptr; }

// How many runtimes, engines and contexts there are.
std::atomic<int> alive = 0;
struct Counted {
  Counted() { ++alive; }
  ~Counted() { --alive; }
};

bool refuse(ILogger& logger, const std::string& why) {
  logger.log(ILogger::Severity::kERROR, why.c_str());
  return false;
}

constexpr int64_t kScratch = 4096;

struct ContextImpl : ContextStub, Counted {
  ContextImpl(std::shared_ptr<const Graph> graph, ILogger& logger)
      : graph(std::move(graph)), logger(logger) {}

  std::shared_ptr<const Graph> graph;
  ILogger& logger;
  int32_t profile = -1;
  void* scratch = nullptr;
  Shapes shapes;
  Addresses addresses;
  // Of a context that was recorded nothing may change: its graph would be wrong.
  bool recorded = false, ran = false;

  bool setNvtxVerbosity(ProfilingVerbosity) noexcept override { return true; }
  void setDeviceMemoryV2(void* memory, int64_t size) noexcept override {
    need(is_of_the_gpu(memory, static_cast<size_t>(size)) && size >= kScratch, "scratch is too small");
    scratch = memory;
  }
  bool setOptimizationProfileAsync(int32_t index, cudaStream_t) noexcept override {
    profile = index;
    return index >= 0 && index < 2;
  }
  bool setInputShape(const char* name, const Dims& dims) noexcept override {
    need(!recorded, "a context changes that was recorded");
    const std::vector<int64_t> shape(dims.d, dims.d + dims.nbDims);
    const int64_t rows = profile == 0 ? graph->slots : 1;
    const int64_t tokens = profile == 0 ? 1 : graph->prefill_tokens;
    const std::map<std::string, std::vector<int64_t>> most = {
        {"input_ids", {rows, tokens}},
        {"positions", {3, rows, tokens}},
        {"lengths", {rows}},
        {"past_lengths", {rows}},
        {"logit_index", {rows * tokens}}};
    const auto found = most.find(name);
    const bool fits = found == most.end()
                          ? shape.at(0) >= 1 && shape.at(0) <= rows
                          : std::ranges::equal(shape, found->second, [](int64_t size, int64_t limit) {
                              return size >= 1 && size <= limit;
                            });
    if (!fits) return refuse(logger, std::string(name) + ": shape is outside the profile");
    shapes[name] = shape;
    return true;
  }
  bool set_address(const char* name, void* address) {
    need(!recorded, "a context changes that was recorded");
    need(reinterpret_cast<uintptr_t>(address) % 256 == 0, std::string(name) + " is not aligned");
    addresses[name] = address;
    return true;
  }
  bool setInputTensorAddress(const char* name, const void* data) noexcept override {
    return set_address(name, const_cast<void*>(data));
  }
  bool setOutputTensorAddress(const char* name, void* data) noexcept override {
    return set_address(name, data);
  }
  bool enqueueV3(cudaStream_t stream) noexcept override {
    if (is_set("FAKE_TENSORRT_FAILS")) {
      refuse(logger, "no kernel for this");
      return refuse(logger, "and so the step fails");
    }
    need(scratch != nullptr, "a context runs without scratch memory");
    need(addresses.size() == graph->ports.size(), "a tensor has no address");
    need(!is_capturing(stream) || ran, "a context is recorded before it has run");
    recorded = recorded || is_capturing(stream);
    ran = true;
    enqueue(stream, [stream, graph = graph, shapes = shapes, addresses = addresses] {
      const char* const time = std::getenv("FAKE_TENSORRT_MILLISECONDS");
      if (time != nullptr) std::this_thread::sleep_for(std::chrono::milliseconds(std::atoi(time)));
      if (!graph->run(shapes, addresses)) fail(stream);
    });
    return true;
  }
};

struct FakeContext : IExecutionContext {
  FakeContext(std::shared_ptr<const Graph> graph, ILogger& logger) : impl(std::move(graph), logger) {
    mImpl = &impl;
  }
  ContextImpl impl;
};

struct EngineImpl : EngineStub, Counted {
  explicit EngineImpl(ILogger& logger) : logger(logger) {}

  ILogger& logger;
  std::shared_ptr<Graph> graph = std::make_shared<Graph>();

  const Port& port(const char* name) const {
    return *std::ranges::find(graph->ports, name, &Port::name);
  }
  IExecutionContext* createExecutionContext(
      ExecutionContextAllocationStrategy strategy) noexcept override {
    need(strategy == ExecutionContextAllocationStrategy::kUSER_MANAGED, "contexts take memory");
    return new FakeContext(graph, logger);
  }
  int32_t getNbOptimizationProfiles() const noexcept override { return 2; }
  Dims getTensorShape(const char* name) const noexcept override { return dims_of(port(name).shape); }
  DataType getTensorDataType(const char* name) const noexcept override {
    return type_of(port(name).type);
  }
  TensorIOMode getTensorIOMode(const char* name) const noexcept override {
    return port(name).is_input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
  }
  Dims getProfileShape(const char* name, int32_t profile,
                       OptProfileSelector select) const noexcept override {
    need(std::string_view(name) == "input_ids" && select == OptProfileSelector::kMAX,
         "another profile's shape is asked for");
    return profile == 0 ? dims_of({graph->slots, 1}) : dims_of({1, graph->prefill_tokens});
  }
  int32_t getNbIOTensors() const noexcept override {
    return static_cast<int32_t>(graph->ports.size());
  }
  const char* getIOTensorName(int32_t index) const noexcept override {
    return graph->ports[index].name.c_str();
  }
  int64_t getDeviceMemorySizeV2() const noexcept override { return kScratch; }
};

struct FakeEngine : ICudaEngine {
  explicit FakeEngine(ILogger& logger) : impl(logger) { mImpl = &impl; }
  EngineImpl impl;
};

struct Registry : RegistryStub {
  bool loaded = false;

  // As TensorRT, a library that has plugins.
  void* loadLibrary(const char* path) noexcept override {
    using GetCreators = void* const* (*)(int32_t& count);
    void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void* const get = library == nullptr ? nullptr : dlsym(library, "getCreators");
    int32_t count = 0;
    if (get != nullptr) reinterpret_cast<GetCreators>(get)(count);
    loaded = count > 0 && !is_set("FAKE_TENSORRT_NO_PLUGINS");
    return loaded ? library : nullptr;
  }
};

struct RuntimeImpl : RuntimeStub, Counted {
  explicit RuntimeImpl(ILogger& logger) : logger(logger) {}

  ILogger& logger;
  Registry registry;

  IPluginRegistry& getPluginRegistry() noexcept override { return registry; }
  ICudaEngine* deserializeCudaEngine(const void* data, size_t size) noexcept override {
    const std::string_view plan(static_cast<const char*>(data), size);
    const size_t end = plan.find('\n');
    auto made = std::make_unique<FakeEngine>(logger);
    Graph& graph = *made->impl.graph;
    const std::string head(plan.substr(0, end));
    need(registry.loaded, "a plan is opened without its plugins");
    if (is_set("FAKE_TENSORRT_REFUSES") ||
        std::sscanf(head.c_str(), "fake plan %ld %ld", &graph.slots, &graph.prefill_tokens) != 2) {
      refuse(logger, "magic tag does not match\nand more about it");
      return nullptr;
    }
    const std::string_view onnx = plan.substr(end + 1);
    ort::Env* env = nullptr;
    ort::SessionOptions* options = nullptr;
    check(api().create_env(ort::kLogErrors, "fake", &env));
    check(api().create_session_options(&options));
    check(api().set_intra_op_threads(options, 1));
    check(api().create_cpu_memory_info(ort::kArenaAllocator, ort::kDefaultMemory, &graph.cpu));
    check(api().create_session_from_array(static_cast<const ort::Env*>(env),
                                          static_cast<const void*>(onnx.data()), onnx.size(),
                                          static_cast<const ort::SessionOptions*>(options),
                                          &graph.session));
    api().release_session_options(options);
    graph.read_ports();
    return made.release();
  }
};

struct FakeRuntime : IRuntime {
  explicit FakeRuntime(ILogger& logger) : impl(logger) { mImpl = &impl; }
  RuntimeImpl impl;
};

}  // namespace

extern "C" {

int32_t getInferLibVersion() noexcept {
  const char* const version = std::getenv("FAKE_TENSORRT_VERSION");
  return version == nullptr ? NV_TENSORRT_VERSION : std::atoi(version);
}

int fake_tensorrt_alive() noexcept { return alive; }

void* createInferRuntime_INTERNAL(void* logger, int32_t) noexcept {
  int gpus = 0;
  if (cudaGetDeviceCount(&gpus) != cudaSuccess) return nullptr;  // TensorRT does not say why
  return static_cast<IRuntime*>(new FakeRuntime(*static_cast<ILogger*>(logger)));
}

}  // extern "C"
