// Engines, from what Python has read and checked of their folder.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>

#include "bindings.h"
#include "engine.h"
#include "onnx_decoder.h"
#include "plan_decoder.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace deltaport;

namespace {

// What PlanFacts holds, in order.
using PlanRow = std::tuple<std::string, std::string, std::string, int64_t, int64_t, int64_t>;

std::shared_ptr<Engine> make_engine(const std::string& name, Manifest manifest,
                                    const std::string& path, std::optional<nb::bytes> graph,
                                    const std::string& folder, std::vector<std::string> taps,
                                    const std::string& onnxruntime, const std::string& kernels,
                                    const std::string& tensorrt, const std::string& plugins,
                                    int threads, std::optional<std::string> device) {
  DecoderSource source{path, {}, folder};
  if (graph) source.bytes.assign(graph->c_str(), graph->size());
  DecoderOptions options{onnxruntime, kernels, tensorrt, plugins, threads, {}};
  if (device) options.device = *device == "cuda" ? Device::cuda : Device::cpu;
  const nb::gil_scoped_release release;
  return std::make_shared<Engine>(name, std::move(manifest), source, options, std::move(taps));
}

Manifest make_manifest(std::string target, bool ragged, std::string decoder, int64_t vocab_size,
                       int64_t max_positions, std::vector<int64_t> eos_token_ids,
                       int64_t op_library_version, nb::handle state,
                       std::optional<PlanRow> plan, std::string identity) {
  std::optional<PlanFacts> facts;
  if (plan) facts = std::make_from_tuple<PlanFacts>(std::move(*plan));
  return {std::move(target), ragged,        std::move(decoder), vocab_size,
          max_positions,     eos_token_ids, op_library_version, state_layout_from(state),
          std::move(facts),  std::move(identity)};
}

}  // namespace

void bind_engine(nb::module_& m) {
  m.attr("OP_LIBRARY_VERSION") = kOpLibraryVersion;
  nb::class_<Manifest>(m, "Manifest");
  m.def("manifest", &make_manifest, "target"_a, "ragged"_a, "decoder"_a, "vocab_size"_a,
        "max_positions"_a, "eos_token_ids"_a, "op_library_version"_a, "state"_a, "plan"_a.none(),
        "identity"_a,
        "What the runtime needs of a manifest; state as StateMemory takes it, plan its file, builder, "
        "GPU, slots, prefill tokens and capacity.");
  m.def("runs_our_kernels", &runs_our_kernels, "target"_a,
        "Whether engines for ``target`` run the custom ops by our kernels.");
  m.def("runs_plans", &runs_plans, "target"_a,
        "Whether engines for ``target`` are run as plans of TensorRT.");
  m.def("use_cuda",
        [](const std::string& target, std::optional<std::string> device,
           const std::vector<std::string>& available) {
          std::optional<Device> wanted;
          if (device) wanted = *device == "cuda" ? Device::cuda : Device::cpu;
          return use_cuda(target, wanted, available);
        },
        "target"_a, "device"_a.none(), "available"_a,
        "Whether an engine for ``target`` is to run on a GPU, of these providers.");
  nb::class_<Engine>(m, "Engine")
      .def(nb::new_(&make_engine), "name"_a, "manifest"_a, "path"_a, "graph"_a.none(), "folder"_a,
           "taps"_a, "onnxruntime"_a, "kernels"_a, "tensorrt"_a, "plugins"_a, "threads"_a,
           "device"_a.none());
}
