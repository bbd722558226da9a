// A decoder's graph in ONNX Runtime.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "decoder.h"
#include "onnx_runtime.h"

namespace deltaport {

class OnnxDecoder final : public Decoder {
 public:
  // Throws EngineError for a graph that ONNX Runtime refuses, or a device that cannot be had.
  OnnxDecoder(const OnnxRuntime& ort, const DecoderSource& source, const Manifest& manifest,
              const DecoderOptions& options);
  ~OnnxDecoder() override;

  const OnnxRuntime& ort() const { return ort_; }
  const std::string& file() const override { return file_; }
  std::vector<Port> inputs() const override;
  std::vector<Port> outputs() const override;
  StepTraits traits() const override;
  SessionParts start(const Engine& engine, int64_t slots, int64_t capacity) const override;

  // Runs the graph; an output that is null is made by ONNX Runtime, and the caller's to release.
  // Safe from several threads at once. Returns what went wrong, or null.
  ort::Status* run(const ort::RunOptions* options, std::span<const char* const> input_names,
                   std::span<const ort::Value* const> inputs,
                   std::span<const char* const> output_names, std::span<ort::Value*> outputs) const;

 private:
  const OnnxRuntime& ort_;
  const std::string file_;
  bool runs_our_kernels_;
  ort::Session* session_ = nullptr;
};

// The providers to run `target` on, from those that are `available`. Throws EngineError for a device
// that the engine was not made for, or that the library does not know.
bool use_cuda(const std::string& target, std::optional<Device> device,
              std::span<const std::string> available);
// Whether engines for `target` run the custom ops by our kernels.
bool runs_our_kernels(const std::string& target);

}  // namespace deltaport
