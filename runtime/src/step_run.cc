#include "step_run.h"

#include <chrono>
#include <mutex>

#include "errors.h"
#include "step_ports.h"

namespace deltaport {

// Requests to end a step. ONNX Runtime has a flag for the run in progress; the mutex keeps it and
// ours the same.
struct StepRun::Cancellation {
  explicit Cancellation(const OnnxRuntime& runtime) : ort(runtime) {
    ort.check(ort.api().create_run_options(&options));
  }
  ~Cancellation() { ort.api().release_run_options(options); }

  void request() {
    const std::lock_guard lock(mutex);
    requested = true;
    ort.check(ort.api().set_terminate(options));
  }

  bool take() {
    const std::lock_guard lock(mutex);
    if (!requested) return false;
    requested = false;
    ort.check(ort.api().unset_terminate(options));
    return true;
  }

  const OnnxRuntime& ort;
  ort::RunOptions* options = nullptr;
  std::mutex mutex;
  bool requested = false;
};

StepRun::StepRun(const Engine& engine, const StateMemory& memory)
    : engine_(engine),
      memory_(memory),
      cancellation_(std::make_unique<Cancellation>(engine.decoder().ort())) {
  input_names_.assign(kStepInputs.begin(), kStepInputs.end());
  output_names_.push_back(kLogits);
  for (const StateTensor& tensor : engine.manifest().state) {
    input_names_.push_back(tensor.input.c_str());
    output_names_.push_back(tensor.output.c_str());
  }
  for (const std::string& tap : engine.taps()) output_names_.push_back(tap.c_str());
  inputs_.resize(input_names_.size());
  outputs_.resize(output_names_.size());
}

StepRun::~StepRun() = default;

void StepRun::forget() {
  for (Window& kept : windows_) kept = Window();
}

void StepRun::cancel() { cancellation_->request(); }

bool StepRun::take_cancel() { return cancellation_->take(); }

const StepRun::Window& StepRun::window(int64_t first, int64_t size) {
  Window& kept = windows_[memory_.parity(first)];
  if (kept.first == first && kept.size == size) return kept;
  const OnnxRuntime& ort = engine_.decoder().ort();
  Window made{first, size, {}, {}};
  const StateLayout& layout = memory_.layout();
  for (size_t t = 0; t < layout.size(); ++t) {
    std::vector<int64_t> shape = layout[t].shape;
    for (int64_t& dim : shape) {
      if (dim == kSlots) dim = size;
      if (dim == kCapacity) dim = memory_.capacity();
    }
    made.past.emplace_back(ort, memory_.past(t, first), layout[t].dtype, shape);
    made.present.emplace_back(ort, memory_.present(t, first), layout[t].dtype, shape);
  }
  kept = std::move(made);
  return kept;
}

void StepRun::bind_inputs(StepPlan& plan) {
  const OnnxRuntime& ort = engine_.decoder().ort();
  const int64_t B = plan.size(), T = plan.width;
  const auto bind = [&](StepInput input, std::vector<int64_t>& data,
                        std::initializer_list<int64_t> shape) {
    static int64_t nothing = 0;  // an empty tensor must point somewhere, too
    int64_t* const at = data.empty() ? &nothing : data.data();
    step_inputs_[input] = TensorView(ort, at, ElementType::int64, std::span(shape));
    inputs_[input] = step_inputs_[input].get();
  };
  bind(kInputIds, plan.input_ids, {B, T});
  bind(kPositions, plan.positions, {3, B, T});
  bind(kLengths, plan.lengths, {B});
  bind(kPastLengths, plan.past, {B});
  bind(kLogitIndex, plan.logit_index, {static_cast<int64_t>(plan.logit_index.size())});
}

void StepRun::run(StepPlan& plan, float* logits, StepObserver* observer) {
  if (observer != nullptr) observer->before(plan);
  const Decoder& decoder = engine_.decoder();
  const OnnxRuntime& ort = decoder.ort();
  bind_inputs(plan);
  const int64_t R = static_cast<int64_t>(plan.logit_index.size());
  const int64_t logits_shape[] = {R, engine_.manifest().vocab_size};
  const TensorView logits_tensor(ort, logits, ElementType::float32, logits_shape);
  outputs_[0] = logits_tensor.get();
  const Window& state = window(plan.first_slot, plan.size());
  for (size_t t = 0; t < state.past.size(); ++t) {
    inputs_[kStepInputCount + t] = state.past[t].get();
    outputs_[1 + t] = state.present[t].get();
  }
  const auto start = std::chrono::steady_clock::now();
  ort::Status* const status =
      decoder.run(cancellation_->options, input_names_, inputs_, output_names_, outputs_);
  nanoseconds_ += (std::chrono::steady_clock::now() - start).count();
  const std::string problem = ort.message(status);
  if (take_cancel()) {
    release_taps();
    throw StepCancelledError(engine_.name() + ": the step was cancelled");
  }
  if (!problem.empty()) {
    release_taps();
    throw EngineError(engine_.name() + ": a step failed: " + problem);
  }
  if (observer != nullptr) {
    try {
      show(*observer, plan, logits);
    } catch (...) {
      release_taps();
      throw;
    }
  }
  release_taps();
}

void StepRun::show(StepObserver& observer, const StepPlan& plan, float* logits) {
  const OnnxRuntime& ort = engine_.decoder().ort();
  const ort::Api& api = ort.api();
  std::vector<Tap> taps;
  for (size_t i = 0; i < engine_.taps().size(); ++i) {
    ort::Value* const value = outputs_[outputs_.size() - engine_.taps().size() + i];
    ort::TensorInfo* info = nullptr;
    void* data = nullptr;
    size_t rank = 0;
    ort::TensorType type = ort::kUndefined;
    ort.check(api.tensor_data(value, &data));
    ort.check(api.tensor_info(value, &info));
    ort.check(api.element_type(info, &type));
    ort.check(api.rank(info, &rank));
    std::vector<int64_t> shape(rank);
    ort.check(api.dimensions(info, shape.data(), rank));
    api.release_tensor_info(info);
    const size_t item = type == ort::kFloat32 ? 4 : 2;
    taps.push_back(
        {engine_.taps()[i], static_cast<const std::byte*>(data), std::move(shape), item});
  }
  const size_t count = plan.logit_index.size() * engine_.manifest().vocab_size;
  observer.after(plan, std::span(logits, count), taps);
}

void StepRun::release_taps() {
  const ort::Api& api = engine_.decoder().ort().api();
  for (size_t i = outputs_.size() - engine_.taps().size(); i < outputs_.size(); ++i) {
    if (outputs_[i] != nullptr) api.release_value(outputs_[i]);
    outputs_[i] = nullptr;
  }
}

}  // namespace deltaport
