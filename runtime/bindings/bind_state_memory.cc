// State memory by itself, for its tests.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "host_state_memory.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace deltaport;

namespace {

using Bytes = nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>>;
using Counts = std::vector<int64_t>;

template <class Value>
Value named(const std::string& name, const std::vector<std::pair<const char*, Value>>& names) {
  for (const auto& [known, value] : names) {
    if (name == known) return value;
  }
  throw nb::value_error(("the state layout says '" + name + "', which means nothing").c_str());
}

StateTensor tensor_from(nb::handle item) {
  const auto row = nb::cast<nb::tuple>(item);
  StateTensor tensor;
  tensor.input = nb::cast<std::string>(row[0]);
  tensor.output = nb::cast<std::string>(row[1]);
  tensor.kind = named<StateKind>(nb::cast<std::string>(row[2]),
                                 {{"kv", StateKind::kv},
                                  {"conv", StateKind::conv},
                                  {"recurrent", StateKind::recurrent}});
  tensor.dtype = named<ElementType>(nb::cast<std::string>(row[3]),
                                    {{"float32", ElementType::float32},
                                     {"float16", ElementType::float16},
                                     {"bfloat16", ElementType::bfloat16},
                                     {"int64", ElementType::int64}});
  for (const nb::handle size : row[4]) {
    tensor.shape.push_back(nb::isinstance<nb::str>(size)
                               ? named<int64_t>(nb::cast<std::string>(size),
                                                {{"slots", kSlots}, {"capacity", kCapacity}})
                               : nb::cast<int64_t>(size));
  }
  tensor.in_place = nb::cast<bool>(row[5]);
  tensor.rewindable = nb::cast<bool>(row[6]);
  return tensor;
}

// `count` neighbouring slots of a tensor. The array keeps `self` alive, but not the memory of
// before a reserve.
Bytes view(nb::handle_t<HostStateMemory> self, size_t t, int64_t count, void* data) {
  const auto& memory = nb::cast<const HostStateMemory&>(self);
  const size_t bytes = memory.packed_bytes(t, memory.capacity()) * static_cast<size_t>(count);
  return Bytes(data, {bytes}, self);
}

Bytes past(nb::handle_t<HostStateMemory> self, size_t t, int64_t slot, int64_t count) {
  return view(self, t, count, nb::cast<const HostStateMemory&>(self).past(t, slot));
}

Bytes present(nb::handle_t<HostStateMemory> self, size_t t, int64_t slot, int64_t count) {
  return view(self, t, count, nb::cast<const HostStateMemory&>(self).present(t, slot));
}

nb::bytes pack(const HostStateMemory& memory, size_t t, int64_t slot, int64_t used) {
  std::vector<std::byte> packed(memory.packed_bytes(t, used));
  memory.pack(t, slot, used, packed.data());
  return nb::bytes(packed.data(), packed.size());
}

void unpack(HostStateMemory& memory, size_t t, int64_t slot, int64_t used, const nb::bytes& packed) {
  if (packed.size() != memory.packed_bytes(t, used)) throw nb::value_error("not of that size");
  memory.unpack(t, slot, used, static_cast<const std::byte*>(packed.data()));
}

}  // namespace

StateLayout state_layout_from(nb::handle rows) {
  StateLayout layout;
  for (const nb::handle row : rows) layout.push_back(tensor_from(row));
  return layout;
}

void bind_state_memory(nb::module_& m) {
  nb::class_<HostStateMemory>(m, "StateMemory")
      .def("__init__",
           [](HostStateMemory* self, nb::handle layout, int64_t slots, int64_t capacity) {
             new (self) HostStateMemory(state_layout_from(layout), slots, capacity);
           },
           "layout"_a, "slots"_a, "capacity"_a)
      .def_prop_ro("slots", &HostStateMemory::slots)
      .def_prop_ro("capacity", &HostStateMemory::capacity)
      .def("reserve",
           [](HostStateMemory& memory, int64_t slots, int64_t capacity, const Counts& used) {
             memory.reserve(slots, capacity, used);
           },
           "slots"_a, "capacity"_a, "used"_a)
      .def("past", &past, "tensor"_a, "slot"_a, "count"_a = 1)
      .def("present", &present, "tensor"_a, "slot"_a, "count"_a = 1)
      .def("unify",
           [](HostStateMemory& memory, int64_t first, const Counts& used) {
             memory.unify(first, static_cast<int64_t>(used.size()), used);
           },
           "first"_a, "used"_a)
      .def("parity", &HostStateMemory::parity, "slot"_a)
      .def("commit", &HostStateMemory::commit, "first"_a, "count"_a = 1)
      .def("exchange", &HostStateMemory::exchange, "a"_a, "b"_a, "used_a"_a, "used_b"_a)
      .def("clear", &HostStateMemory::clear, "slot"_a)
      .def("trim", &HostStateMemory::trim, "slot"_a, "used"_a)
      .def("duplicate", &HostStateMemory::duplicate, "origin"_a, "to"_a, "used"_a)
      .def("packed_bytes", &HostStateMemory::packed_bytes, "tensor"_a, "used"_a)
      .def("pack", &pack, "tensor"_a, "slot"_a, "used"_a)
      .def("unpack", &unpack, "tensor"_a, "slot"_a, "used"_a, "packed"_a)
      .def("slot_bytes", &HostStateMemory::slot_bytes, "used"_a)
      .def("resident_bytes", &HostStateMemory::resident_bytes);
}
