// A TensorRT whose plans are ONNX graphs, run by onnxruntime on the memory of the fake GPU. It aborts
// where it is used otherwise than TensorRT may be, and refuses what TensorRT refuses.
//
// A plan is a line "fake plan SLOTS PREFILL_TOKENS" and the graph. Settings: FAKE_TENSORRT_ORT (the
// library of onnxruntime), FAKE_TENSORRT_REFUSES (no plan is taken), FAKE_TENSORRT_FAILS_AFTER (how
// many runs go well).
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cuda.h"
#include "ort_adapter/ort_abi.h"
#include "stubs.h"  // made of TensorRT's headers: classes whose functions abort

namespace {

using namespace nvinfer1;
namespace ort = deltaport::ort;

void need(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "fake TensorRT: %s\n", what.c_str());
  std::abort();
}

const ort::Api& api() {
  static const ort::Api* const found = [] {
    void* const library = dlopen(std::getenv("FAKE_TENSORRT_ORT"), RTLD_NOW | RTLD_LOCAL);
    need(library != nullptr, "FAKE_TENSORRT_ORT names no library");
    using GetBase = const ort::ApiBase* (*)();
    const auto base = reinterpret_cast<GetBase>(dlsym(library, "OrtGetApiBase"))();
    return new ort::Api(base->get_api(ort::kApiVersion));
  }();
  return *found;
}

void check(ort::Status* status) {
  need(status == nullptr, status == nullptr ? "" : api().error_message(status));
}

struct Port {
  std::string name;
  ort::TensorType type;
  std::vector<int64_t> shape;
  bool is_input;

  size_t item() const { return type == ort::kFloat32 ? 4 : type == ort::kInt64 ? 8 : 2; }
};

// Shapes and addresses as they are when a run is put into a stream.
using Shapes = std::map<std::string, std::vector<int64_t>>;
using Addresses = std::map<std::string, void*>;

struct Graph {
  int64_t slots = 0, prefill_tokens = 0;
  ort::Session* session = nullptr;
  ort::MemoryInfo* cpu = nullptr;
  std::vector<Port> ports;

  ~Graph() { api().release_session(session); }
  void read_ports();
  // Whether the graph takes what it is fed.
  bool run(const Shapes& shapes, const Addresses& addresses) const;
};

void Graph::read_ports() {
  for (const bool is_input : {true, false}) {
    size_t count = 0;
    ort::Allocator* allocator = nullptr;
    check(api().default_allocator(&allocator));
    check(is_input ? api().input_count(session, &count) : api().output_count(session, &count));
    for (size_t i = 0; i < count; ++i) {
      char* name = nullptr;
      ort::TypeInfo* info = nullptr;
      const ort::TensorInfo* tensor = nullptr;
      size_t rank = 0;
      check(is_input ? api().input_name(session, i, allocator, &name)
                     : api().output_name(session, i, allocator, &name));
      check(is_input ? api().input_type(session, i, &info) : api().output_type(session, i, &info));
      check(api().as_tensor_info(info, &tensor));
      Port port{name, ort::kUndefined, {}, is_input};
      check(api().element_type(tensor, &port.type));
      check(api().rank(tensor, &rank));
      port.shape.resize(rank);
      check(api().dimensions(tensor, port.shape.data(), rank));
      ports.push_back(port);
      api().release_type_info(info);
      check(api().free(allocator, name));
    }
  }
}

bool Graph::run(const Shapes& shapes, const Addresses& addresses) const {
  std::vector<const char*> input_names, output_names;
  std::vector<std::vector<char>> copies;  // the graph does not mind that buffers are one
  std::vector<ort::Value*> inputs, outputs;
  for (const Port& port : ports) {
    (port.is_input ? input_names : output_names).push_back(port.name.c_str());
    if (!port.is_input) continue;
    const std::vector<int64_t>& shape = shapes.at(port.name);
    size_t bytes = port.item();
    for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
    const char* const data = static_cast<const char*>(addresses.at(port.name));
    need(is_of_the_gpu(data, bytes), port.name + " is not in the memory of the GPU");
    std::vector<char>& copy = copies.emplace_back(data, data + bytes);
    check(api().create_tensor(cpu, copy.data(), bytes, shape.data(), shape.size(), port.type,
                              &inputs.emplace_back()));
  }
  outputs.resize(output_names.size());
  ort::Status* const status =
      api().run(session, static_cast<const ort::RunOptions*>(nullptr), input_names.data(),
                static_cast<const ort::Value* const*>(inputs.data()), inputs.size(),
                output_names.data(), outputs.size(), outputs.data());
  if (status != nullptr) api().release_status(status);
  for (size_t i = 0; i < outputs.size() && status == nullptr; ++i) {
    const Port& port = ports[inputs.size() + i];
    ort::TensorInfo* info = nullptr;
    void* data = nullptr;
    size_t rank = 0, bytes = port.item();
    check(api().tensor_info(outputs[i], &info));
    check(api().rank(info, &rank));
    std::vector<int64_t> shape(rank);
    check(api().dimensions(info, shape.data(), rank));
    for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
    api().release_tensor_info(info);
    check(api().tensor_data(outputs[i], &data));
    void* const to = addresses.at(port.name);
    need(is_of_the_gpu(to, bytes), port.name + " is not in the memory of the GPU");
    std::memcpy(to, data, bytes);
  }
  for (const auto* values : {&inputs, &outputs}) {
    for (ort::Value* value : *values) {
      if (value != nullptr) api().release_value(value);
    }
  }
  return status == nullptr;
}

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

bool refuse(ILogger& logger, const std::string& why) {
  logger.log(ILogger::Severity::kERROR, why.c_str());
  return false;
}

constexpr int64_t kScratch = 4096;

struct ContextImpl : ContextStub {
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
    static int runs = 0;
    const char* const most = std::getenv("FAKE_TENSORRT_FAILS_AFTER");
    if (most != nullptr && runs++ >= std::atoi(most)) return refuse(logger, "no kernel for this");
    need(scratch != nullptr, "a context runs without scratch memory");
    need(addresses.size() == graph->ports.size(), "a tensor has no address");
    need(!is_capturing(stream) || ran, "a context is recorded before it has run");
    recorded = recorded || is_capturing(stream);
    ran = true;
    enqueue(stream, [stream, graph = graph, shapes = shapes, addresses = addresses] {
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

struct EngineImpl : EngineStub {
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
  // As TensorRT, for any library that has plugins or is said to.
  void* loadLibrary(const char* path) noexcept override {
    void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    return library != nullptr && dlsym(library, "getCreators") != nullptr ? library : nullptr;
  }
};

struct RuntimeImpl : RuntimeStub {
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
    if (std::getenv("FAKE_TENSORRT_REFUSES") != nullptr ||
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

void* createInferRuntime_INTERNAL(void* logger, int32_t) noexcept {
  return static_cast<IRuntime*>(new FakeRuntime(*static_cast<ILogger*>(logger)));
}

}  // extern "C"
