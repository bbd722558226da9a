// How the tensors of a state layout lie in memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "state_layout.h"

namespace deltaport {

// One tensor. A slot's part, its row, is [planes, columns, column_bytes] and dense.
struct Geometry {
  bool is_cache;        // else of fixed size: one plane of one column
  int buffers;          // 1: updated in place; 2: a step reads one and writes the other
  int64_t planes;       // dimensions before the capacity
  int64_t columns;      // the capacity
  size_t column_bytes;  // dimensions after the capacity

  size_t plane_bytes() const { return static_cast<size_t>(columns) * column_bytes; }
  size_t row_bytes() const { return static_cast<size_t>(planes) * plane_bytes(); }
  // Bytes of a plane, and of a row, that count where a cache has `used` columns.
  size_t used_plane_bytes(int64_t used) const {
    return static_cast<size_t>(is_cache ? used : columns) * column_bytes;
  }
  size_t used_bytes(int64_t used) const {
    return static_cast<size_t>(planes) * used_plane_bytes(used);
  }
  bool operator==(const Geometry&) const = default;
};

// Throws CapacityError where the sizes of all slots together are beyond any memory.
Geometry geometry_of(const StateTensor& tensor, int64_t slots, int64_t capacity);

[[noreturn]] void throw_no_memory(const StateTensor& tensor, int64_t slots, int64_t capacity);

}  // namespace deltaport
