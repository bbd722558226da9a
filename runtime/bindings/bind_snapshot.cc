// Sequences set aside: by hand, in files, and as prefixes of later ones.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "bindings.h"
#include "engine.h"
#include "prefix_cache.h"
#include "snapshot.h"
#include "snapshot_file.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace deltaport;

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// What a session of `engine` might have made, for tests and benchmarks.
std::shared_ptr<Snapshot> made_up(const Engine& engine, std::vector<int64_t> tokens, int64_t length,
                                  std::optional<Floats> logits, const std::vector<Bytes>& parts) {
  const Manifest& manifest = engine.manifest();
  auto made = std::make_shared<Snapshot>(
      Snapshot{manifest.identity, manifest.state, std::move(tokens), length, {}, {}});
  if (logits) made->logits.assign(logits->data(), logits->data() + logits->size());
  for (const Bytes& part : parts) {
    SnapshotPart& copy = made->state.emplace_back(part.size());
    std::memcpy(copy.data.get(), part.data(), part.size());
  }
  return made;
}

// Read-only views, which keep the snapshot.
template <class T>
nb::object view_of(nb::handle owner, const T* data, size_t count) {
  static const T nothing{};
  return nb::cast(
      nb::ndarray<nb::numpy, const T, nb::ndim<1>>(count ? data : &nothing, {count}, owner));
}

nb::object logits(nb::handle self) {
  const auto& snapshot = nb::cast<const Snapshot&>(self);
  if (snapshot.logits.empty()) return nb::none();
  return view_of(self, snapshot.logits.data(), snapshot.logits.size());
}

nb::object part(nb::handle self, size_t tensor) {
  const SnapshotPart& found = nb::cast<const Snapshot&>(self).state.at(tensor);
  return view_of(self, reinterpret_cast<const uint8_t*>(found.data.get()), found.size);
}

// Paths are bytes, as the system's are.
void save(const Snapshot& snapshot, const nb::bytes& path) {
  const std::string name(path.c_str(), path.size());
  const nb::gil_scoped_release release;
  save_snapshot(snapshot, name);
}

std::shared_ptr<Snapshot> load(const nb::bytes& path, const Engine& engine) {
  const std::string name(path.c_str(), path.size());
  const nb::gil_scoped_release release;
  return std::make_shared<Snapshot>(load_snapshot(name, engine.manifest()));
}

nb::tuple usage(const PrefixCache& cache) {
  const PrefixCache::Usage found = cache.usage();
  return nb::make_tuple(found.bytes, found.entries, found.hits, found.misses);
}

}  // namespace

void bind_snapshot(nb::module_& m) {
  const auto release = nb::call_guard<nb::gil_scoped_release>();
  nb::class_<Snapshot>(m, "Snapshot")
      .def(nb::new_(&made_up), "engine"_a, "tokens"_a, "length"_a, "logits"_a.none(), "parts"_a)
      .def_prop_ro("tokens", [](const Snapshot& s) { return s.tokens; })
      .def_ro("length", &Snapshot::length)
      .def_prop_ro("logits", &logits,
                   nb::sig("def logits(self) -> NDArray[numpy.float32] | None"))
      .def("part", &part, "tensor"_a,
           nb::sig("def part(self, tensor: int) -> NDArray[numpy.uint8]"))
      .def_prop_ro("nbytes", &Snapshot::bytes)
      .def("save", &save, "path"_a)
      .def_static("load", &load, "path"_a, "engine"_a);
  nb::class_<PrefixCache>(m, "PrefixCache")
      .def(nb::init<size_t, int64_t>(), "budget"_a, "least"_a)
      .def("usage", &usage, nb::sig("def usage(self) -> tuple[int, int, int, int]"))
      .def("clear", &PrefixCache::clear, release);
}
