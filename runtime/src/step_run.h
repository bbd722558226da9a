// Runs of the decoder over a session's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "step_plan.h"

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
  virtual ~StepRun() = default;
  StepRun(const StepRun&) = delete;
  StepRun& operator=(const StepRun&) = delete;

  // Runs `plan`, whose logits go to `logits` [R,V]; new states are written where a commit expects
  // them. Throws EngineError, or StepCancelledError after a cancel.
  virtual void run(StepPlan& plan, float* logits, StepObserver* observer) = 0;
  // The state has moved: nothing that is kept is right any more.
  virtual void forget() = 0;

  // Ends the run in progress, or else the next one; from any thread.
  virtual void cancel() = 0;
  // Whether a cancel has come, which is used up by asking.
  virtual bool take_cancel() = 0;

  // Memory for `count` logits, as a run writes it best.
  virtual std::shared_ptr<float[]> logits_memory(size_t count) const {
    return std::make_shared_for_overwrite<float[]>(count);
  }
  // Nanoseconds spent in the decoder so far.
  int64_t nanoseconds() const { return nanoseconds_; }

 protected:
  StepRun() = default;

  int64_t nanoseconds_ = 0;
};

}  // namespace deltaport
