// What runs an engine's decoder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "manifest.h"
#include "state_memory.h"
#include "step_run.h"

namespace deltaport {

class Engine;

enum class Device { cpu, cuda };

// How a decoder is run.
struct DecoderOptions {
  std::string onnxruntime = "libonnxruntime.so.1";  // path or name of the library
  std::string kernels;           // path of ort_kernels.so; needed by engines for ort-cpu
  std::string tensorrt;          // the same of TensorRT; empty: by what built the plan
  std::string plugins;           // path of libdeltaport_tensorrt.so; needed by engines with plans
  int threads = 0;               // compute threads; 0: one per core
  std::optional<Device> device;  // none: a GPU for engines made for one where there is one
};

// Where a graph is: a file, or bytes whose external weights are in the engine's folder.
struct DecoderSource {
  std::filesystem::path path;  // named in errors, too
  std::string bytes;           // instead of the file, unless empty
  std::filesystem::path folder;
};

// A tensor the graph takes or gives; a dimension of any size is -1.
struct Port {
  std::string name;
  int type;  // ONNX's number
  std::vector<int64_t> shape;
};

// What a decoder's steps are like.
struct StepTraits {
  // Attention holds all of a step's scores, [rows, heads, tokens, columns].
  bool holds_scores = false;
  // A step costs the same however large caches are, and all there will be is reserved.
  bool reserves_caches = false;
  // Sizes that something was compiled for.
  std::optional<int64_t> capacity;  // columns of caches, no fewer and no more
  int64_t most_rows = std::numeric_limits<int64_t>::max();    // of a step
  int64_t most_tokens = std::numeric_limits<int64_t>::max();  // of a row in a step
  bool compiled() const { return capacity.has_value(); }
};

// The state of a session and the steps over it, which refer to it.
struct SessionParts {
  std::unique_ptr<StateMemory> memory;
  std::unique_ptr<StepRun> run;
};

// Immutable and safe from several threads at once.
class Decoder {
 public:
  virtual ~Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // The file that is run, for errors.
  virtual const std::string& file() const = 0;
  virtual std::vector<Port> inputs() const = 0;
  virtual std::vector<Port> outputs() const = 0;
  virtual StepTraits traits() const = 0;
  // State for `slots` sequences with `capacity` columns, and what runs `engine`, whose decoder this
  // is, on it. Throws CapacityError.
  virtual SessionParts start(const Engine& engine, int64_t slots, int64_t capacity) const = 0;

 protected:
  Decoder() = default;
};

// Throws EngineError for a graph that is refused, or a device that cannot be had.
std::unique_ptr<const Decoder> open_decoder(const DecoderSource& source, const Manifest& manifest,
                                            const DecoderOptions& options);

// Throws EngineError unless the graph has exactly the inputs and outputs that the manifest and
// `taps`, further outputs, promise.
void check_interface(const Decoder& decoder, const Manifest& manifest,
                     std::span<const std::string> taps);

}  // namespace deltaport
