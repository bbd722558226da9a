// Runs of a plan by TensorRT. Decode steps that come again are recorded as CUDA graphs, which start at
// once where a run costs the host some microseconds for each of the plan's kernels.
#pragma once

#include <array>
#include <atomic>
#include <compare>
#include <map>
#include <memory>
#include <set>

#include "engine.h"
#include "plan_decoder.h"
#include "step_ports.h"
#include "step_run.h"

namespace deltaport {

class PlanStepRun final : public StepRun {
 public:
  // All given outlive this; `memory` is of the device that `queue` belongs to.
  PlanStepRun(const Engine& engine, const StateMemory& memory, const PlanFacts& facts,
              std::shared_ptr<DeviceQueue> queue);

  // A cancel ends the run once the GPU is through with it.
  void run(StepPlan& plan, float* logits, StepObserver* observer) override;
  void forget() override;
  void cancel() override { cancelled_ = true; }
  bool take_cancel() override { return cancelled_.exchange(false); }
  std::shared_ptr<float[]> logits_memory(size_t count) const override;

 private:
  using Context = std::unique_ptr<device::Context, void (*)(device::Context*)>;
  using Graph = std::unique_ptr<device::Graph, void (*)(device::Graph*)>;
  // All that decides on the shapes and addresses of a run.
  struct Key {
    int64_t first, rows, tokens, logits;
    bool parity;
    auto operator<=>(const Key&) const = default;
  };
  // One that came before: its own context, for a graph is right while its context is as it was.
  struct Decode {
    Context context;
    Graph graph;
    bool ran = false;     // without being recorded, as TensorRT wants it first
    bool records = true;  // whether it can be, as far as is known
    uint64_t last_used = 0;
  };

  Context open_context(int32_t profile);
  // Puts the inputs of `plan` into the queue and notes where they are then.
  void stage(const StepPlan& plan);
  // Room for the logits of `rows` rows.
  void reserve_logits(int64_t rows);
  void bind(device::Context* context, const Key& key);
  void enqueue(device::Context* context);
  void decode(const Key& key);
  // Null where a step is better run as it comes.
  Decode* decode_of(const Key& key);
  void start(const StepPlan& plan, const Key& key);

  const Engine& engine_;
  const StateMemory& memory_;
  const PlanFacts& facts_;
  const std::shared_ptr<DeviceQueue> queue_;
  const device::Api& api_;
  std::shared_ptr<std::byte[]> staged_;  // inputs as they go to the GPU
  DeviceMemory inputs_;
  std::array<size_t, kStepInputCount> offsets_{};
  DeviceMemory logits_;
  int64_t logits_rows_ = 0;
  Context prefill_, decode_;  // of steps as they come
  std::map<Key, Decode> decodes_;
  std::set<Key> seen_;  // decode steps that came once
  uint64_t runs_ = 0;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace deltaport
