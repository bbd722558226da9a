#include "plan_decoder.h"

#include <algorithm>

#include "device_state_memory.h"
#include "engine.h"
#include "errors.h"
#include "plan_step_run.h"
#include "step_ports.h"

namespace deltaport {

namespace {

constexpr const char* kPlain = "tensorrt-plain";
constexpr const char* kWithPlugins = "tensorrt";

const PlanFacts& plan_of(const DecoderSource& source, const Manifest& manifest,
                         const DecoderOptions& options) {
  if (options.device == Device::cpu) {
    throw EngineError("device is cpu, but the engine was made for TensorRT; export the checkpoint "
                      "with --target ort-cpu");
  }
  if (!source.bytes.empty()) {
    throw EngineError(source.path.string() + ": changed as it is opened, which a plan cannot be; "
                      "open an engine exported with --target ort-cuda or ort-cpu");
  }
  if (!manifest.plan) {
    throw EngineError(source.folder.string() + ": has no plan, it was exported with --no-plan; "
                      "export it again without, where TensorRT is");
  }
  return *manifest.plan;
}

// The library of TensorRT that runs what `builder` has built, such as "TensorRT 11.4.0".
std::string library_of(const std::string& builder) {
  const bool rtx = builder.starts_with("TensorRT-RTX ");
  const auto digit = std::ranges::find_if(builder, [](char c) { return c >= '0' && c <= '9'; });
  const auto end = std::find_if(digit, builder.end(), [](char c) { return c < '0' || c > '9'; });
  return (rtx ? "libtensorrt_rtx.so." : "libnvinfer.so.") + std::string(digit, end);
}

std::string text_of(const device::Shape& shape) {
  std::string text;
  for (int32_t i = 0; i < std::clamp(shape.rank, 0, device::kMostDimensions); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape.sizes[i]);
  }
  return "[" + text + "]";
}

}  // namespace

bool runs_plans(const std::string& target) { return target == kPlain || target == kWithPlugins; }

PlanDecoder::PlanDecoder(const DecoderSource& source, const Manifest& manifest,
                         const DecoderOptions& options)
    : api_(device_api(options.plugins)),
      facts_(plan_of(source, manifest, options)),
      file_((source.folder / facts_.file).string()),
      plan_(nullptr, api_.close_plan) {
  const std::string library =
      options.tensorrt.empty() ? library_of(facts_.builder) : options.tensorrt;
  device::Problem problem{};
  plan_.reset(api_.open_plan(library.c_str(), options.plugins.c_str(), file_.c_str(), &problem));
  if (plan_ == nullptr) {
    throw EngineError(file_ + ": built by " + facts_.builder + " for " + facts_.gpu + " GPU: " +
                      problem.text);
  }
  check_profiles();
  check_state(manifest);
}

void PlanDecoder::check_profiles() const {
  const char* const ids = kStepInputs[kInputIds];
  const auto expected = {std::pair(facts_.slots, int64_t{1}),
                         std::pair(int64_t{1}, facts_.prefill_tokens)};
  bool fits = api_.profile_count(plan_.get()) == kProfileCount;
  int32_t profile = 0;
  for (const auto& [rows, tokens] : expected) {
    if (!fits) break;
    const device::Shape found = api_.largest(plan_.get(), ids, profile++);
    fits = found.rank == 2 && found.sizes[0] == rows && found.sizes[1] == tokens;
    if (fits) continue;
    throw EngineError(file_ + ": takes " + ids + " up to " + text_of(found) + ", expected [" +
                      std::to_string(rows) + ", " + std::to_string(tokens) +
                      "] by the manifest; export the engine again");
  }
  if (!fits) {
    throw EngineError(file_ + ": has " + std::to_string(api_.profile_count(plan_.get())) +
                      " profiles, expected one for decode and one for prefill; export the engine "
                      "again");
  }
}

void PlanDecoder::check_state(const Manifest& manifest) const {
  if (manifest.ragged) {
    throw EngineError(file_ + ": ragged by the manifest, which no plan is; export the engine "
                      "again");
  }
  for (const StateTensor& tensor : manifest.state) {
    if (tensor.kind == StateKind::kv && !tensor.in_place) {
      throw EngineError(file_ + ": " + tensor.input + " is swapped by the manifest, and TensorRT "
                        "updates caches where they are; export the engine again");
    }
    // Rows that decode together lie one behind the other, and any of them may be the first.
    const size_t bytes = geometry_of(tensor, 1, facts_.capacity).row_bytes();
    if (facts_.slots == 1 || bytes == aligned(bytes)) continue;
    throw EngineError(file_ + ": " + tensor.input + " takes " + std::to_string(bytes) +
                      " bytes a sequence, expected a multiple of " +
                      std::to_string(kDeviceAlignment) + " where several decode together; export "
                      "the engine with --slots 1");
  }
}

StepTraits PlanDecoder::traits() const {
  StepTraits traits;
  traits.capacity = facts_.capacity;
  traits.most_rows = facts_.slots;
  traits.most_tokens = facts_.prefill_tokens;
  return traits;
}

SessionParts PlanDecoder::start(const Engine& engine, int64_t slots, int64_t capacity) const {
  const auto queue = std::make_shared<DeviceQueue>(api_, plan_.get(), engine.name());
  const bool apart = facts_.slots == 1;
  auto memory = std::make_unique<DeviceStateMemory>(engine.manifest().state, slots, capacity, apart,
                                                    queue);
  auto run = std::make_unique<PlanStepRun>(engine, *memory, facts_, queue);
  return {std::move(memory), std::move(run)};
}

std::vector<Port> PlanDecoder::ports(bool inputs) const {
  std::vector<Port> found;
  for (int32_t i = 0; i < api_.tensor_count(plan_.get()); ++i) {
    const device::Tensor tensor = api_.tensor(plan_.get(), i);
    if (tensor.is_input != inputs) continue;
    const int64_t* const sizes = tensor.shape.sizes;
    found.push_back({tensor.name, tensor.type, {sizes, sizes + std::max(tensor.shape.rank, 0)}});
  }
  return found;
}

}  // namespace deltaport
