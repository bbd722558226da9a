// Runs of the decoder over a session's memory, with what can be kept from one run to the next.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "engine.h"
#include "session_rows.h"
#include "state_memory.h"
#include "step_plan.h"
#include "step_ports.h"

namespace deltaport {

// A further output of a run, [B,T,H] in the dtype of activations.
struct Tap {
  std::string name;
  const std::byte* data;
  std::vector<int64_t> shape;
  size_t item_size;
};

// Is shown every run of a session, to look at or to change its logits. What it throws ends the step.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  virtual void before(const StepPlan& plan) = 0;
  virtual void after(const StepPlan& plan, std::span<float> logits, std::span<const Tap> taps) = 0;
};

class StepRun {
 public:
  StepRun(const Engine& engine, const StateMemory& memory);
  ~StepRun();
  StepRun(const StepRun&) = delete;
  StepRun& operator=(const StepRun&) = delete;

  // Runs `plan`, whose logits go to `logits` [R,V]; new states are written where a commit expects
  // them. Throws EngineError, or StepCancelledError after a cancel.
  void run(StepPlan& plan, float* logits, StepObserver* observer);
  // The state has moved: nothing that is kept is right any more.
  void forget();

  // Ends the run in progress, or else the next one; from any thread.
  void cancel();
  // Whether a cancel has come, which is used up by asking.
  bool take_cancel();

  // Nanoseconds spent in ONNX Runtime so far.
  int64_t nanoseconds() const { return nanoseconds_; }

 private:
  // Neighbouring slots with the same buffer current, and what a run of them takes and gives.
  struct Window {
    int64_t first = -1, size = 0;
    std::vector<TensorView> past, present;
    std::vector<const ort::Value*> inputs;
    std::vector<ort::Value*> outputs;
    KeptTensor logits;  // two steps in a row have theirs in different memory
  };
  struct Cancellation;

  Window& window(int64_t first, int64_t size);
  void bind_inputs(StepPlan& plan, Window& window);
  void show(StepObserver& observer, const StepPlan& plan, float* logits, const Window& window);
  void release_taps(Window& window);

  const Engine& engine_;
  const StateMemory& memory_;
  std::vector<const char*> input_names_, output_names_;
  std::array<KeptTensor, kStepInputCount> step_inputs_;
  std::array<Window, 2> windows_;  // by which buffer is current: steps take turns
  std::unique_ptr<Cancellation> cancellation_;
  int64_t nanoseconds_ = 0;
};

}  // namespace deltaport
