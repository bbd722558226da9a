// A decoder's graph in ONNX Runtime.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "manifest.h"
#include "onnx_runtime.h"

namespace deltaport {

enum class Device { cpu, cuda };

// How a decoder is run.
struct DecoderOptions {
  std::string onnxruntime = "libonnxruntime.so.1";  // path or name of the library
  std::string kernels;           // path of ort_kernels.so; needed by engines for ort-cpu
  int threads = 0;               // compute threads; 0: one per core
  std::optional<Device> device;  // none: a GPU for engines made for one where there is one
};

// Where a graph is: a file, or bytes whose external weights are in a folder.
struct DecoderSource {
  std::filesystem::path path;  // named in errors, too
  std::string bytes;           // instead of the file, unless empty
  std::filesystem::path weights;
};

// A tensor the graph takes or gives; a dimension of any size is -1.
struct Port {
  std::string name;
  int type;  // ONNX's number
  std::vector<int64_t> shape;
};

class Decoder {
 public:
  // Throws EngineError for a graph that ONNX Runtime refuses, or a device that cannot be had.
  Decoder(const OnnxRuntime& ort, const DecoderSource& source, const Manifest& manifest,
          const DecoderOptions& options);
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  const OnnxRuntime& ort() const { return ort_; }
  std::vector<Port> inputs() const;
  std::vector<Port> outputs() const;

  // Runs the graph; an output that is null is made by ONNX Runtime, and the caller's to release.
  // Safe from several threads at once. Returns what went wrong, or null.
  ort::Status* run(const ort::RunOptions* options, std::span<const char* const> input_names,
                   std::span<const ort::Value* const> inputs,
                   std::span<const char* const> output_names, std::span<ort::Value*> outputs) const;

 private:
  const OnnxRuntime& ort_;
  ort::Session* session_ = nullptr;
};

// The providers to run `target` on, from those that are `available`. Throws EngineError for a device
// that the engine was not made for, or that the library does not know.
bool use_cuda(const std::string& target, std::optional<Device> device,
              std::span<const std::string> available);
// Whether engines for `target` run the custom ops by our kernels.
bool runs_our_kernels(const std::string& target);

// Throws EngineError unless the graph has exactly the inputs and outputs that the manifest and
// `taps`, further outputs, promise.
void check_interface(const Decoder& decoder, const std::filesystem::path& path,
                     const Manifest& manifest, std::span<const std::string> taps);

}  // namespace deltaport
