#include "plan_step_run.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "device_state_memory.h"
#include "errors.h"

namespace deltaport {

namespace {

// Each has a context, with some memory of its own. A session that decodes all its rows has two for
// each plan's worth of them, one for each buffer of the state.
constexpr size_t kMostDecodes = 32;
constexpr size_t kMostSeen = 1024;

// Bytes of a step's inputs, all of them, each aligned.
size_t input_bytes(int64_t tokens) {  // of all rows
  const size_t each = aligned(static_cast<size_t>(tokens) * sizeof(int64_t));
  return (3 + kStepInputCount - 1) * each;  // positions are three
}

}  // namespace

PlanStepRun::PlanStepRun(const Engine& engine, const StateMemory& memory, const PlanFacts& facts,
                         std::shared_ptr<DeviceQueue> queue)
    : engine_(engine),
      memory_(memory),
      facts_(facts),
      queue_(std::move(queue)),
      api_(queue_->api()),
      inputs_(nullptr, api_.release),
      logits_(nullptr, api_.release),
      prefill_(nullptr, api_.close_context),
      decode_(nullptr, api_.close_context) {
  const size_t bytes = input_bytes(std::max(facts.slots, facts.prefill_tokens));
  staged_ = pinned_memory(api_, bytes);
  inputs_ = device_memory(api_, bytes);
  if (inputs_ == nullptr) throw CapacityError(engine.name() + ": no memory left on the GPU");
  reserve_logits(facts.slots);
  prefill_ = open_context(kPrefillProfile);
  decode_ = open_context(kDecodeProfile);
}

PlanStepRun::Context PlanStepRun::open_context(int32_t profile) {
  device::Problem problem{};
  Context made(api_.open_context(queue_->get(), profile, &problem), api_.close_context);
  queue_->check(made != nullptr, problem);
  return made;
}

std::shared_ptr<float[]> PlanStepRun::logits_memory(size_t count) const {
  // Those of a whole prompt are large, and not worth pinning for once.
  const size_t pinned = static_cast<size_t>(facts_.slots * engine_.manifest().vocab_size);
  if (count > pinned) return StepRun::logits_memory(count);
  const std::shared_ptr<std::byte[]> memory = pinned_memory(api_, count * sizeof(float));
  return {memory, reinterpret_cast<float*>(memory.get())};
}

void PlanStepRun::forget() {
  decodes_.clear();
  seen_.clear();
}

void PlanStepRun::reserve_logits(int64_t rows) {
  if (rows <= logits_rows_) return;
  forget();  // their logits go elsewhere from now on
  logits_ = DeviceMemory(nullptr, api_.release);
  logits_rows_ = 0;
  const size_t bytes = static_cast<size_t>(rows * engine_.manifest().vocab_size) * sizeof(float);
  logits_ = device_memory(api_, bytes);
  if (logits_ == nullptr) {
    throw CapacityError(engine_.name() + ": no memory for the logits of " + std::to_string(rows) +
                        " tokens on the GPU; read prompts in smaller chunks");
  }
  logits_rows_ = rows;
}

void PlanStepRun::stage(const StepPlan& plan) {
  static const std::vector<int64_t> kFirst = {0};  // a plan has no step without logits
  const auto& index = plan.logit_index.empty() ? kFirst : plan.logit_index;
  size_t end = 0;
  const auto put = [&](StepInput input, const std::vector<int64_t>& data) {
    const size_t bytes = data.size() * sizeof(int64_t);
    offsets_[input] = end;
    std::memcpy(staged_.get() + end, data.data(), bytes);
    end += aligned(bytes);
  };
  put(kInputIds, plan.input_ids);
  put(kPositions, plan.positions);
  put(kLengths, plan.lengths);
  put(kPastLengths, plan.past);
  put(kLogitIndex, index);
  queue_->copy(inputs_.get(), staged_.get(), end);
}

void PlanStepRun::bind(device::Context* context, const Key& key) {
  device::Problem problem{};
  const auto input = [&](const char* name, std::initializer_list<int64_t> sizes, void* address) {
    device::Shape shape{static_cast<int32_t>(sizes.size()), {}};
    std::ranges::copy(sizes, shape.sizes);
    queue_->check(api_.set_input(context, name, &shape, address, &problem), problem);
  };
  const auto step_input = [&](StepInput which, std::initializer_list<int64_t> sizes) {
    input(kStepInputs[which], sizes, inputs_.get() + offsets_[which]);
  };
  step_input(kInputIds, {key.rows, key.tokens});
  step_input(kPositions, {3, key.rows, key.tokens});
  step_input(kLengths, {key.rows});
  step_input(kPastLengths, {key.rows});
  step_input(kLogitIndex, {key.logits});
  queue_->check(api_.set_output(context, kLogits, logits_.get(), &problem), problem);
  const StateLayout& layout = memory_.layout();
  for (size_t t = 0; t < layout.size(); ++t) {
    device::Shape shape{0, {}};
    for (const int64_t size : layout[t].shape) {
      shape.sizes[shape.rank++] =
          size == kSlots ? key.rows : size == kCapacity ? memory_.capacity() : size;
    }
    void *const past = memory_.past(t, key.first), *const present = memory_.present(t, key.first);
    const StateTensor& tensor = layout[t];
    queue_->check(api_.set_input(context, tensor.input.c_str(), &shape, past, &problem), problem);
    queue_->check(api_.set_output(context, tensor.output.c_str(), present, &problem), problem);
  }
}

void PlanStepRun::enqueue(device::Context* context) {
  device::Problem problem{};
  queue_->check(api_.enqueue(context, &problem), problem);
}

PlanStepRun::Decode* PlanStepRun::decode_of(const Key& key) {
  const auto found = decodes_.find(key);
  if (found != decodes_.end()) return &found->second;
  if (seen_.size() >= kMostSeen) seen_.clear();
  if (seen_.insert(key).second) return nullptr;
  if (decodes_.size() >= kMostDecodes) {
    const auto oldest = std::ranges::min_element(
        decodes_, {}, [](const auto& entry) { return entry.second.last_used; });
    // One that is used in turns with too many others must not go for each of these.
    if (runs_ - oldest->second.last_used < 8 * kMostDecodes) return nullptr;
    decodes_.erase(oldest);
  }
  Decode made{open_context(kDecodeProfile), Graph(nullptr, api_.release_graph)};
  bind(made.context.get(), key);
  return &decodes_.emplace(key, std::move(made)).first->second;
}

// The first step of its kind runs as it comes, the second in a context of its own, the third is
// recorded.
void PlanStepRun::decode(const Key& key) {
  ++runs_;
  Decode* const decode = decode_of(key);
  if (decode == nullptr) {
    bind(decode_.get(), key);
    return enqueue(decode_.get());
  }
  decode->last_used = runs_;
  device::Problem problem{};
  if (decode->ran && decode->records && decode->graph == nullptr) {
    decode->graph.reset(api_.record(decode->context.get(), &problem));
    decode->records = decode->graph != nullptr;
  }
  if (decode->graph == nullptr) {
    enqueue(decode->context.get());
    decode->ran = true;
  } else {
    queue_->check(api_.launch(decode->graph.get(), &problem), problem);
  }
}

void PlanStepRun::start(const StepPlan& plan, const Key& key) {
  reserve_logits(key.logits);
  stage(plan);
  if (key.tokens == 1) return decode(key);
  bind(prefill_.get(), key);
  enqueue(prefill_.get());
}

void PlanStepRun::run(StepPlan& plan, float* logits, StepObserver* observer) {
  if (observer != nullptr) observer->before(plan);
  const int64_t wanted = static_cast<int64_t>(plan.logit_index.size());
  const Key key{plan.first_slot, plan.size(), plan.width, std::max<int64_t>(wanted, 1),
                memory_.parity(plan.first_slot)};
  const size_t count = static_cast<size_t>(wanted * engine_.manifest().vocab_size);
  const auto began = std::chrono::steady_clock::now();
  try {
    start(plan, key);
    queue_->copy(logits, logits_.get(), count * sizeof(float));
    queue_->finish();
  } catch (...) {
    decodes_.erase(key);  // what its context and graph are now nobody knows
    throw;
  }
  nanoseconds_ += (std::chrono::steady_clock::now() - began).count();
  if (take_cancel()) {
    throw StepCancelledError(engine_.name() + ": the step was cancelled");
  }
  if (observer != nullptr) observer->after(plan, std::span(logits, count), {});
}

}  // namespace deltaport
