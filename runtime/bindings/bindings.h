// The parts of the Python module.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstring>
#include <vector>

#include "snapshot.h"
#include "state_layout.h"

// A vector of what only moves says that it can be copied.
template <>
struct nanobind::detail::is_copy_constructible<deltaport::Snapshot> : std::false_type {};

void bind_manifest(nanobind::module_& m);
void bind_state_memory(nanobind::module_& m);
void bind_sampler(nanobind::module_& m);
void bind_engine(nanobind::module_& m);
void bind_session(nanobind::module_& m);
void bind_snapshot(nanobind::module_& m);
void bind_generation(nanobind::module_& m);
void bind_step_plan(nanobind::module_& m);

// A layout from tuples (input, output, kind, dtype, shape, in_place, rewindable); the dimensions
// "slots" and "capacity" of a shape are named, all others are numbers. Throws ValueError.
deltaport::StateLayout state_layout_from(nanobind::handle rows);

// A copy of [shape] items for Python.
template <class T>
nanobind::object array_of(const T* data, const std::vector<size_t>& shape) {
  size_t count = 1;
  for (const size_t size : shape) count *= size;
  T* const copy = new T[count];
  if (count != 0) std::memcpy(copy, data, count * sizeof(T));
  const nanobind::capsule owner(copy, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return nanobind::cast(
      nanobind::ndarray<nanobind::numpy, T>(copy, shape.size(), shape.data(), owner));
}
