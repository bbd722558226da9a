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
  // Exchanges what counts of two rows, by way of `scratch` where it moves pages. Of both, and of what
  // move_row moves, all pages are the buffers' own.
  void exchange_rows(std::byte* a, std::byte* b, int64_t used_a, int64_t used_b,
                     std::byte* scratch) const;
  // Moves what counts of a row over another. What it leaves in `from` is unspecified.
  void move_row(std::byte* from, std::byte* to, int64_t used) const;
};

}  // namespace deltaport
