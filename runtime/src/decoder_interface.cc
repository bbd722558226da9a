// The graph must have exactly the inputs and outputs that the manifest promises.

#include <map>
#include <set>

#include "decoder.h"
#include "errors.h"
#include "onnx_runtime.h"
#include "step_ports.h"

namespace deltaport {

namespace {

constexpr int64_t kAny = -1;

struct Promise {
  int type;
  std::vector<int64_t> shape;
};

std::map<std::string, Promise> promised(const Manifest& manifest,
                                        std::optional<int64_t> capacity) {
  std::map<std::string, Promise> expected = {
      {kStepInputs[kInputIds], {ort::kInt64, {kAny, kAny}}},
      {kStepInputs[kPositions], {ort::kInt64, {3, kAny, kAny}}},
      {kStepInputs[kLengths], {ort::kInt64, {kAny}}},
      {kStepInputs[kPastLengths], {ort::kInt64, {kAny}}},
      {kStepInputs[kLogitIndex], {ort::kInt64, {kAny}}},
      {kLogits, {ort::kFloat32, {kAny, manifest.vocab_size}}},
  };
  for (const StateTensor& tensor : manifest.state) {
    Promise promise{onnx_type(tensor.dtype), {}};
    for (const int64_t size : tensor.shape) {
      promise.shape.push_back(size == kCapacity ? capacity.value_or(kAny)
                                                : size == kSlots ? kAny : size);
    }
    expected[tensor.input] = expected[tensor.output] = promise;
  }
  return expected;
}

// Whether a graph's shape takes all that the manifest promises.
bool fits(const std::vector<int64_t>& found, const std::vector<int64_t>& promised) {
  if (found.size() != promised.size()) return false;
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i] >= 0 && found[i] != promised[i]) return false;
  }
  return true;
}

}  // namespace

void check_interface(const Decoder& decoder, const Manifest& manifest,
                     std::span<const std::string> taps) {
  std::map<std::string, Port> found;
  for (const Port& port : decoder.inputs()) found[port.name] = port;
  for (const Port& port : decoder.outputs()) found[port.name] = port;
  for (const std::string& tap : taps) found.erase(tap);
  const std::map<std::string, Promise> expected =
      promised(manifest, decoder.traits().capacity);
  std::set<std::string> names;
  for (const auto& [name, port] : found) names.insert(name);
  for (const auto& [name, promise] : expected) names.insert(name);
  for (const std::string& name : names) {
    const bool in_graph = found.contains(name);
    if (in_graph && expected.contains(name)) continue;
    throw EngineError(decoder.file() + ": " + name + " is only in the " +
                      (in_graph ? "graph" : "manifest") + "; export the engine again");
  }
  for (const auto& [name, promise] : expected) {
    if (found[name].type != promise.type || !fits(found[name].shape, promise.shape)) {
      throw EngineError(decoder.file() + ": " + name +
                        " has another dtype or shape than the manifest says");
    }
  }
}

}  // namespace deltaport
