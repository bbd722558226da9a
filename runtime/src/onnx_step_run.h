// Runs of a graph by ONNX Runtime, with what can be kept from one run to the next.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "engine.h"
#include "onnx_decoder.h"
#include "state_memory.h"
#include "step_ports.h"
#include "step_run.h"

namespace deltaport {

class OnnxStepRun final : public StepRun {
 public:
  // All given outlive this; `decoder` is the engine's.
  OnnxStepRun(const Engine& engine, const OnnxDecoder& decoder, const StateMemory& memory);
  ~OnnxStepRun() override;

  void run(StepPlan& plan, float* logits, StepObserver* observer) override;
  void forget() override;
  void cancel() override;
  bool take_cancel() override;

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
  const OnnxDecoder& decoder_;
  const StateMemory& memory_;
  std::vector<const char*> input_names_, output_names_;
  std::array<KeptTensor, kStepInputCount> step_inputs_;
  std::array<Window, 2> windows_;  // by which buffer is current: steps take turns
  std::unique_ptr<Cancellation> cancellation_;
};

}  // namespace deltaport
