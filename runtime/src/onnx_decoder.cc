#include "onnx_decoder.h"

#include <algorithm>

#include "engine.h"
#include "errors.h"
#include "host_state_memory.h"
#include "onnx_step_run.h"

namespace deltaport {

namespace {

constexpr const char* kCuda = "CUDAExecutionProvider";
constexpr const char* kForCuda = "ort-cuda";
constexpr const char* kWithKernels = "ort-cpu";

// Session options, released at the end of a scope.
class Options {
 public:
  explicit Options(const OnnxRuntime& ort) : api_(ort.api()) {
    ort.check(api_.create_session_options(&made_));
  }
  ~Options() { api_.release_session_options(made_); }
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  ort::SessionOptions* get() const { return made_; }

 private:
  const ort::Api& api_;
  ort::SessionOptions* made_ = nullptr;
};

// Whether the options have the provider now. Without a driver there is none, and the reason does
// not matter: the caller knows whether a GPU was asked for.
bool add_cuda(const OnnxRuntime& ort, ort::SessionOptions* options) {
  ort::CudaOptions* cuda = nullptr;
  if (!ort.message(ort.api().create_cuda_options(&cuda)).empty()) return false;
  const std::string problem = ort.message(ort.api().append_cuda(options, cuda));
  ort.api().release_cuda_options(cuda);
  return problem.empty();
}

std::string activation_dtype(const StateLayout& state) {
  for (const StateTensor& tensor : state) {
    if (tensor.kind == StateKind::recurrent) continue;
    if (tensor.dtype == ElementType::bfloat16) return "bfloat16";
    return tensor.dtype == ElementType::float16 ? "float16" : "float32";
  }
  return "float32";
}

// What to tell of an engine that ONNX Runtime does not open.
std::string refusal(const std::filesystem::path& path, const Manifest& manifest,
                    ort::ErrorCode code, const std::string& problem) {
  const std::string dtype = activation_dtype(manifest.state);
  if (code == ort::kNotImplemented && dtype != "float32") {
    return path.string() + ": computes in " + dtype +
           ", for which onnxruntime lacks kernels on this device; run it where onnxruntime-gpu "
           "finds a GPU, or export it with --dtype float32";
  }
  return path.string() + ": onnxruntime refuses it: " + problem;
}

}  // namespace

bool runs_our_kernels(const std::string& target) { return target == kWithKernels; }

bool use_cuda(const std::string& target, std::optional<Device> device,
              std::span<const std::string> available) {
  const bool wanted = device ? *device == Device::cuda : target == kForCuda;
  if (!wanted) return false;
  if (target != kForCuda) {
    throw EngineError("device is cuda, but the engine was made for '" + target.substr(0, 40) +
                      "'; export it with --target " + kForCuda);
  }
  const bool there = std::ranges::find(available, kCuda) != available.end();
  if (!there && device) {
    throw EngineError(
        "device is cuda, but this onnxruntime has no CUDA provider; install onnxruntime-gpu");
  }
  return there;
}

OnnxDecoder::OnnxDecoder(const OnnxRuntime& ort, const DecoderSource& source,
                         const Manifest& manifest, const DecoderOptions& options)
    : ort_(ort),
      file_(source.path.string()),
      runs_our_kernels_(runs_our_kernels(manifest.target)) {
  const bool cuda = use_cuda(manifest.target, options.device, ort.providers());
  const ort::Api& api = ort.api();
  const Options held(ort);
  ort::SessionOptions* const made = held.get();
  ort.check(api.set_intra_op_threads(made, options.threads));
  ort.check(api.set_inter_op_threads(made, 1));
  ort.check(api.set_log_severity(made, ort::kLogErrors));
  if (runs_our_kernels_) ort.register_kernels(made, options.kernels);
  if (cuda && !add_cuda(ort, made) && options.device) {
    throw EngineError(
        "device is cuda, but onnxruntime could not use a GPU; check driver and CUDA libraries");
  }
  ort::Status* status = nullptr;
  if (source.bytes.empty()) {
    status = api.create_session(ort.env(), source.path.c_str(), made, &session_);
  } else {
    if (!source.folder.empty()) {
      ort.check(api.add_config_entry(made, "session.model_external_initializers_file_folder_path",
                                     source.folder.c_str()));
    }
    status = api.create_session_from_array(ort.env(), source.bytes.data(), source.bytes.size(),
                                           made, &session_);
  }
  if (status != nullptr) {
    const ort::ErrorCode code = api.error_code(status);
    throw EngineError(refusal(source.path, manifest, code, ort.message(status)));
  }
}

OnnxDecoder::~OnnxDecoder() { ort_.api().release_session(session_); }

StepTraits OnnxDecoder::traits() const {
  StepTraits traits;
  traits.holds_scores = !runs_our_kernels_;
  traits.reserves_caches = runs_our_kernels_;
  return traits;
}

SessionParts OnnxDecoder::start(const Engine& engine, int64_t slots, int64_t capacity) const {
  auto memory = std::make_unique<HostStateMemory>(engine.manifest().state, slots, capacity);
  auto run = std::make_unique<OnnxStepRun>(engine, *this, *memory);
  return {std::move(memory), std::move(run)};
}

ort::Status* OnnxDecoder::run(const ort::RunOptions* options,
                              std::span<const char* const> input_names,
                              std::span<const ort::Value* const> inputs,
                              std::span<const char* const> output_names,
                              std::span<ort::Value*> outputs) const {
  return ort_.api().run(session_, options, input_names.data(), inputs.data(), inputs.size(),
                        output_names.data(), outputs.size(), outputs.data());
}

namespace {

Port port(const OnnxRuntime& ort, const char* name, ort::TypeInfo* info) {
  const ort::Api& api = ort.api();
  Port found{name, ort::kUndefined, {}};
  const ort::TensorInfo* tensor = nullptr;
  ort.check(api.as_tensor_info(info, &tensor));
  if (tensor != nullptr) {  // else a sequence or map, which no port of ours is
    ort::TensorType type = ort::kUndefined;
    size_t rank = 0;
    ort.check(api.element_type(tensor, &type));
    ort.check(api.rank(tensor, &rank));
    found.type = type;
    found.shape.resize(rank);
    ort.check(api.dimensions(tensor, found.shape.data(), rank));
  }
  return found;
}

template <class NameOf, class TypeOf>
std::vector<Port> ports(const OnnxRuntime& ort, size_t count, NameOf name_of, TypeOf type_of) {
  const ort::Api& api = ort.api();
  ort::Allocator* allocator = nullptr;
  ort.check(api.default_allocator(&allocator));
  std::vector<Port> found;
  for (size_t i = 0; i < count; ++i) {
    char* name = nullptr;
    ort::TypeInfo* info = nullptr;
    ort.check(name_of(i, allocator, &name));
    ort.check(type_of(i, &info));
    found.push_back(port(ort, name, info));
    api.release_type_info(info);
    ort.check(api.free(allocator, name));
  }
  return found;
}

}  // namespace

std::vector<Port> OnnxDecoder::inputs() const {
  const ort::Api& api = ort_.api();
  size_t count = 0;
  ort_.check(api.input_count(session_, &count));
  return ports(
      ort_, count, [&](auto... given) { return api.input_name(session_, given...); },
      [&](auto... given) { return api.input_type(session_, given...); });
}

std::vector<Port> OnnxDecoder::outputs() const {
  const ort::Api& api = ort_.api();
  size_t count = 0;
  ort_.check(api.output_count(session_, &count));
  return ports(
      ort_, count, [&](auto... given) { return api.output_name(session_, given...); },
      [&](auto... given) { return api.output_type(session_, given...); });
}

}  // namespace deltaport
