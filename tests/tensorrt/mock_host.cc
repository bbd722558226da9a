// A host of plugins in place of TensorRT: what the tests call by C, and what they cannot be, such
// as dimensions that nobody knows until an engine runs.
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>

using namespace nvinfer1;

namespace {

class Logger final : public ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    text += std::to_string(static_cast<int>(severity)) + " " + message + "\n";
  }
  std::string text;
} logger;

struct Finder final : ILoggerFinder {
  ILogger* findLogger() override { return has_logger ? &logger : nullptr; }
  bool has_logger = true;
} finder;

int32_t version = NV_TENSORRT_VERSION;

// A plugin that lives on while a process ends, as those of an engine that nobody closed: this was
// there before the library of the plugin, so that it goes after it.
struct Kept {
  ~Kept();
  IPluginV3* plugin = nullptr;
} kept;

// A dimension that has a value, which only those that are constant tell: others say INT64_MIN.
class Dimension final : public IDimensionExpr, apiv::VDimensionExpr {
 public:
  Dimension(int64_t value, bool is_constant) : value(value), is_constant_(is_constant) {
    mImpl = this;
  }
  const int64_t value;

 private:
  bool isConstant() const override { return is_constant_; }
  int64_t getConstantValue() const override { return is_constant_ ? value : INT64_MIN; }
  bool isSizeTensor() const override { return false; }
  const bool is_constant_;
};

class Builder final : public IExprBuilder, apiv::VExprBuilder {
 public:
  Builder() { mImpl = this; }
  const IDimensionExpr* add(int64_t value, bool is_constant) {
    return &dimensions_.emplace_back(value, is_constant);
  }

 private:
  const IDimensionExpr* constant(int64_t value) override { return add(value, true); }
  const IDimensionExpr* operation(DimensionOperation operation, const IDimensionExpr& first,
                                  const IDimensionExpr& second) override {
    const int64_t a = static_cast<const Dimension&>(first).value;
    const int64_t b = static_cast<const Dimension&>(second).value;
    const bool is_constant = first.isConstant() && second.isConstant();
    switch (operation) {
      case DimensionOperation::kSUM:
        return add(a + b, is_constant);
      case DimensionOperation::kPROD:
        return add(a * b, is_constant);
      default:
        std::abort();  // no adapter has needed it
    }
  }
  const IDimensionExpr* declareSizeTensor(int32_t, const IDimensionExpr&,
                                          const IDimensionExpr&) override {
    std::abort();
  }
  std::deque<Dimension> dimensions_;
};

template <class Capability>
Capability& capability(IPluginV3* plugin, PluginCapabilityType type) {
  return *static_cast<Capability*>(plugin->getCapabilityInterface(type));
}
IPluginV3OneBuild& build_of(IPluginV3* plugin) {
  return capability<IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD);
}
IPluginV3OneCore& core_of(IPluginV3* plugin) {
  return capability<IPluginV3OneCore>(plugin, PluginCapabilityType::kCORE);
}
IPluginV3OneRuntime& runtime_of(IPluginV3* plugin) {
  return capability<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME);
}

Kept::~Kept() {
  if (plugin != nullptr) std::puts(build_of(plugin).getMetadataString());
}

}  // namespace

extern "C" {

// The two functions of TensorRT that the adapter looks for in the library of a finder.
int32_t getInferLibVersion() noexcept { return version; }
ILogger* getLogger() noexcept {
  logger.text += "for all: ";
  return &logger;
}

// Pretends to be TensorRT of another version, and to have loggers or not while a plugin is called.
void pretend(int32_t of_version, bool has_logger) {
  version = of_version;
  finder.has_logger = has_logger;
}
int32_t headers_version() { return NV_TENSORRT_VERSION; }

int64_t size_of_field() { return sizeof(PluginField); }
int64_t size_of_desc() { return sizeof(PluginTensorDesc); }
int64_t size_of_dynamic_desc() { return sizeof(DynamicPluginTensorDesc); }

// What was logged since, a line for each message: its severity, its text.
const char* take_log() {
  static std::string taken;
  taken = std::move(logger.text);
  logger.text.clear();
  return taken.c_str();
}

// Creators of the library at `path`, and their number; null if it cannot be loaded.
IPluginCreatorInterface* const* load_library(const char* path, int32_t* count) {
  void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    logger.text += dlerror();
    return nullptr;
  }
  using SetFinder = void (*)(ILoggerFinder*);
  using GetCreators = IPluginCreatorInterface* const* (*)(int32_t&);
  const auto set_finder = reinterpret_cast<SetFinder>(dlsym(library, "setLoggerFinder"));
  const auto creators = reinterpret_cast<GetCreators>(dlsym(library, "getCreators"));
  if (set_finder == nullptr || creators == nullptr) return nullptr;
  set_finder(&finder);
  return creators(*count);
}

using Creator = IPluginCreatorV3One;
const char* creator_kind(IPluginCreatorInterface* any) { return any->getInterfaceInfo().kind; }
const char* creator_name(Creator* creator) { return creator->getPluginName(); }
const char* creator_version(Creator* creator) { return creator->getPluginVersion(); }
const char* creator_namespace(Creator* creator) { return creator->getPluginNamespace(); }
const PluginFieldCollection* creator_fields(Creator* creator) { return creator->getFieldNames(); }
IPluginV3* create(Creator* creator, const PluginFieldCollection* fields, int32_t phase) {
  return creator->createPlugin("a node", fields, static_cast<TensorRTPhase>(phase));
}

void destroy(IPluginV3* plugin) { delete plugin; }
void keep(IPluginV3* plugin) { kept.plugin = plugin->clone(); }
IPluginV3* clone(IPluginV3* plugin) { return plugin->clone(); }
IPluginV3* attach(IPluginV3* plugin) { return runtime_of(plugin).attachToContext(nullptr); }
const char* plugin_name(IPluginV3* plugin) { return core_of(plugin).getPluginName(); }
const char* plugin_version(IPluginV3* plugin) { return core_of(plugin).getPluginVersion(); }
const char* plugin_namespace(IPluginV3* plugin) { return core_of(plugin).getPluginNamespace(); }
const char* metadata(IPluginV3* plugin) { return build_of(plugin).getMetadataString(); }
int32_t output_count(IPluginV3* plugin) { return build_of(plugin).getNbOutputs(); }
const PluginFieldCollection* serialized(IPluginV3* plugin) {
  return runtime_of(plugin).getFieldsToSerialize();
}

bool supports(IPluginV3* plugin, int32_t position, const DynamicPluginTensorDesc* descs,
              int32_t inputs, int32_t outputs) {
  return build_of(plugin).supportsFormatCombination(position, descs, inputs, outputs);
}
int32_t output_types(IPluginV3* plugin, DataType* to, int32_t outputs, const DataType* inputs,
                     int32_t count) {
  return build_of(plugin).getOutputDataTypes(to, outputs, inputs, count);
}
// Dimensions of outputs where those of `inputs` at -1 - n are not known and will be n.
int32_t output_shapes(IPluginV3* plugin, const Dims* inputs, int32_t count, Dims* to,
                      int32_t outputs) {
  Builder builder;
  DimsExprs shapes[16], results[16];
  for (int32_t i = 0; i < count; ++i) {
    shapes[i].nbDims = inputs[i].nbDims;
    for (int32_t j = 0; j < inputs[i].nbDims; ++j) {
      const int64_t extent = inputs[i].d[j];
      shapes[i].d[j] = extent < 0 ? builder.add(-1 - extent, false) : builder.add(extent, true);
    }
  }
  const int32_t status =
      build_of(plugin).getOutputShapes(shapes, count, nullptr, 0, results, outputs, builder);
  for (int32_t i = 0; status == 0 && i < outputs; ++i) {
    to[i].nbDims = results[i].nbDims;
    for (int32_t j = 0; j < results[i].nbDims; ++j) {
      to[i].d[j] = static_cast<const Dimension*>(results[i].d[j])->value;
    }
  }
  return status;
}
int32_t configure(IPluginV3* plugin, const DynamicPluginTensorDesc* descs, int32_t inputs,
                  int32_t outputs) {
  return build_of(plugin).configurePlugin(descs, inputs, descs + inputs, outputs);
}
int64_t workspace(IPluginV3* plugin, const DynamicPluginTensorDesc* descs, int32_t inputs,
                  int32_t outputs) {
  return static_cast<int64_t>(
      build_of(plugin).getWorkspaceSize(descs, inputs, descs + inputs, outputs));
}
int32_t on_shape_change(IPluginV3* plugin, const PluginTensorDesc* descs, int32_t inputs,
                        int32_t outputs) {
  return runtime_of(plugin).onShapeChange(descs, inputs, descs + inputs, outputs);
}
int32_t enqueue(IPluginV3* plugin, const PluginTensorDesc* descs, int32_t inputs,
                const void* const* from, void* const* to, void* workspace, uintptr_t stream) {
  return runtime_of(plugin).enqueue(descs, descs + inputs, from, to, workspace,
                                    reinterpret_cast<cudaStream_t>(stream));
}
}
