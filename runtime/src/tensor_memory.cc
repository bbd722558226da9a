#include "tensor_memory.h"

#include <algorithm>
#include <cstring>

namespace deltaport {

void copy_planes(const std::byte* from, size_t from_stride, std::byte* to, size_t to_stride,
                 int64_t planes, size_t bytes) {
  if (bytes == 0) return;  // there may be no memory then
  for (int64_t plane = 0; plane < planes; ++plane, from += from_stride, to += to_stride) {
    std::memcpy(to, from, bytes);
  }
}

void TensorMemory::discard_columns(int64_t slot, int64_t begin, int64_t end) const {
  for (int buffer = 0; buffer < geometry.buffers; ++buffer) {
    std::byte* plane = row(buffer, slot) + static_cast<size_t>(begin) * geometry.column_bytes;
    const size_t bytes = static_cast<size_t>(end - begin) * geometry.column_bytes;
    for (int64_t i = 0; i < geometry.planes; ++i, plane += geometry.plane_bytes()) {
      discard_pages(plane, bytes);
    }
  }
}

void TensorMemory::move_row(std::byte* from, std::byte* to, int64_t used) const {
  const bool worth_it = moves_pages && geometry.used_bytes(used) >= kWorthMoving;
  if (worth_it && move_pages(from, to, geometry.row_bytes())) return;
  copy_planes(from, geometry.plane_bytes(), to, geometry.plane_bytes(), geometry.planes,
              geometry.used_plane_bytes(used));
}

void TensorMemory::exchange_rows(std::byte* a, std::byte* b, int64_t used_a, int64_t used_b,
                                 std::byte* scratch) const {
  if (moves_pages && geometry.used_bytes(std::max(used_a, used_b)) >= kWorthMoving) {
    move_row(a, scratch, used_a);
    move_row(b, a, used_b);
    move_row(scratch, b, used_a);
    discard_pages(scratch, geometry.row_bytes());
    return;
  }
  const size_t bytes_a = geometry.used_plane_bytes(used_a);
  const size_t bytes_b = geometry.used_plane_bytes(used_b);
  const size_t both = std::min(bytes_a, bytes_b);
  for (int64_t i = 0; i < geometry.planes; ++i) {
    std::swap_ranges(a, a + both, b);
    if (bytes_a > both) std::memcpy(b + both, a + both, bytes_a - both);
    if (bytes_b > both) std::memcpy(a + both, b + both, bytes_b - both);
    a += geometry.plane_bytes();
    b += geometry.plane_bytes();
  }
}

}  // namespace deltaport
