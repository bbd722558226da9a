#include "onnx_step_run.h"

#include <chrono>
#include <mutex>

#include "errors.h"

namespace deltaport {

// Requests to end a step. ONNX Runtime has a flag for the run in progress; the mutex keeps it and
// ours the same.
struct OnnxStepRun::Cancellation {
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

OnnxStepRun::OnnxStepRun(const Engine& engine, const OnnxDecoder& decoder,
                         const StateMemory& memory)
    : engine_(engine),
      decoder_(decoder),
      memory_(memory),
      cancellation_(std::make_unique<Cancellation>(decoder.ort())) {
  input_names_.assign(kStepInputs.begin(), kStepInputs.end());
  output_names_.push_back(kLogits);
  for (const StateTensor& tensor : engine.manifest().state) {
    input_names_.push_back(tensor.input.c_str());
    output_names_.push_back(tensor.output.c_str());
  }
  for (const std::string& tap : engine.taps()) output_names_.push_back(tap.c_str());
}

OnnxStepRun::~OnnxStepRun() = default;

void OnnxStepRun::forget() {
  for (Window& kept : windows_) kept = Window();
}

void OnnxStepRun::cancel() { cancellation_->request(); }

bool OnnxStepRun::take_cancel() { return cancellation_->take(); }

OnnxStepRun::Window& OnnxStepRun::window(int64_t first, int64_t size) {
  Window& kept = windows_[memory_.parity(first)];
  if (kept.first == first && kept.size == size) return kept;
  const OnnxRuntime& ort = decoder_.ort();
  Window made;
  made.first = first;
  made.size = size;
  made.inputs.resize(kStepInputCount);
  made.outputs.resize(1);
  const StateLayout& layout = memory_.layout();
  for (size_t t = 0; t < layout.size(); ++t) {
    std::vector<int64_t> shape = layout[t].shape;
    for (int64_t& dim : shape) {
      if (dim == kSlots) dim = size;
      if (dim == kCapacity) dim = memory_.capacity();
    }
    made.past.emplace_back(ort, memory_.past(t, first), layout[t].dtype, shape);
    made.present.emplace_back(ort, memory_.present(t, first), layout[t].dtype, shape);
    made.inputs.push_back(made.past.back().get());
    made.outputs.push_back(made.present.back().get());
  }
  made.outputs.resize(output_names_.size());
  kept = std::move(made);
  return kept;
}

void OnnxStepRun::bind_inputs(StepPlan& plan, Window& window) {
  const OnnxRuntime& ort = decoder_.ort();
  const int64_t B = plan.size(), T = plan.width;
  const auto bind = [&](StepInput input, std::vector<int64_t>& data,
                        std::initializer_list<int64_t> shape) {
    static int64_t nothing = 0;  // an empty tensor must point somewhere, too
    int64_t* const at = data.empty() ? &nothing : data.data();
    window.inputs[input] = step_inputs_[input].over(ort, at, ElementType::int64, shape);
  };
  bind(kInputIds, plan.input_ids, {B, T});
  bind(kPositions, plan.positions, {3, B, T});
  bind(kLengths, plan.lengths, {B});
  bind(kPastLengths, plan.past, {B});
  bind(kLogitIndex, plan.logit_index, {static_cast<int64_t>(plan.logit_index.size())});
}

void OnnxStepRun::run(StepPlan& plan, float* logits, StepObserver* observer) {
  if (observer != nullptr) observer->before(plan);
  const OnnxRuntime& ort = decoder_.ort();
  Window& window = this->window(plan.first_slot, plan.size());
  bind_inputs(plan, window);
  const int64_t R = static_cast<int64_t>(plan.logit_index.size());
  window.outputs[0] = window.logits.over(ort, logits, ElementType::float32,
                                         {R, engine_.manifest().vocab_size});
  const auto start = std::chrono::steady_clock::now();
  ort::Status* const status =
      decoder_.run(cancellation_->options, input_names_, window.inputs, output_names_,
                   window.outputs);
  nanoseconds_ += (std::chrono::steady_clock::now() - start).count();
  const std::string problem = ort.message(status);
  if (take_cancel()) {
    release_taps(window);
    throw StepCancelledError(engine_.name() + ": the step was cancelled");
  }
  if (!problem.empty()) {
    release_taps(window);
    throw EngineError(engine_.name() + ": a step failed: " + problem);
  }
  if (observer != nullptr) {
    try {
      show(*observer, plan, logits, window);
    } catch (...) {
      release_taps(window);
      throw;
    }
  }
  release_taps(window);
}

void OnnxStepRun::show(StepObserver& observer, const StepPlan& plan, float* logits,
                   const Window& window) {
  const std::span outputs = window.outputs;
  const OnnxRuntime& ort = decoder_.ort();
  const ort::Api& api = ort.api();
  std::vector<Tap> taps;
  for (size_t i = 0; i < engine_.taps().size(); ++i) {
    ort::Value* const value = outputs[outputs.size() - engine_.taps().size() + i];
    ort::TensorInfo* info = nullptr;
    void* data = nullptr;
    size_t rank = 0;
    ort::TensorType type = ort::kUndefined;
    ort.check(api.tensor_data(value, &data));
    ort.check(api.tensor_info(value, &info));
    const auto release = [&](ort::TensorInfo* held) { api.release_tensor_info(held); };
    const std::unique_ptr<ort::TensorInfo, decltype(release)> owned(info, release);
    ort.check(api.element_type(info, &type));
    ort.check(api.rank(info, &rank));
    std::vector<int64_t> shape(rank);
    ort.check(api.dimensions(info, shape.data(), rank));
    const size_t item = type == ort::kFloat32 ? 4 : 2;
    taps.push_back(
        {engine_.taps()[i], static_cast<const std::byte*>(data), std::move(shape), item});
  }
  const size_t count = plan.logit_index.size() * engine_.manifest().vocab_size;
  observer.after(plan, std::span(logits, count), taps);
}

void OnnxStepRun::release_taps(Window& window) {
  const ort::Api& api = decoder_.ort().api();
  for (ort::Value*& tap : std::span(window.outputs).last(engine_.taps().size())) {
    if (tap != nullptr) api.release_value(tap);
    tap = nullptr;
  }
}

}  // namespace deltaport
