// The memory of one state tensor: [slots, planes, columns], in one buffer or two.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "state_geometry.h"
#include "virtual_memory.h"

namespace deltaport {

// Below this, copying is faster than asking the system to move pages.
constexpr size_t kWorthMoving = 256 << 10;

// Copies `bytes` of each plane; a stride is from one plane to the next.
void copy_planes(const std::byte* from, size_t from_stride, std::byte* to, size_t to_stride,
                 int64_t planes, size_t bytes);

// A row to be moved: its columns that count, and how many of them are mapped from elsewhere.
struct MovedRow {
  std::byte* data;
  int64_t used;
  int64_t shared = 0;
};

struct TensorMemory {
  Geometry geometry;
  bool moves_pages;  // rows are large and have pages of their own
  std::array<VirtualRegion, 2> buffers;

  std::byte* row(int buffer, int64_t slot) const {
    return buffers[buffer].data() + static_cast<size_t>(slot) * geometry.row_bytes();
  }
  // Whether columns of a cache can be mapped from elsewhere.
  bool shares_pages() const {
    return moves_pages && geometry.is_cache && geometry.buffers == 1 &&
           geometry.plane_bytes() % page_size() == 0;
  }
  // The buffer that holds a slot's state.
  int current(bool parity) const { return geometry.buffers == 2 && parity ? 1 : 0; }

  // Gives back whole pages in columns from `begin` to `end` of a cache's slot.
  void discard_columns(int64_t slot, int64_t begin, int64_t end) const;
  // Exchanges what counts of two rows, by way of `scratch` where it moves pages.
  void exchange_rows(MovedRow a, MovedRow b, std::byte* scratch) const;
  // Moves what counts of a row to where another is. What it leaves there is unspecified.
  void move_row(MovedRow from, std::byte* to) const;
};

}  // namespace deltaport
