#include "tensor_memory.h"

#include <algorithm>
#include <cstring>

namespace deltaport {

namespace {

// Moves pages, or copies the first bytes, those that count, where pages cannot be moved.
void move_range(std::byte* from, std::byte* to, size_t bytes, size_t used) {
  if (bytes == 0 || move_pages(from, to, bytes)) return;
  std::memcpy(to, from, used);
}

}  // namespace

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

void TensorMemory::move_row(MovedRow from, std::byte* to) const {
  const size_t used = geometry.used_plane_bytes(from.used), whole = geometry.plane_bytes();
  const bool worth_it = moves_pages && geometry.used_bytes(from.used) >= kWorthMoving;
  if (worth_it && from.shared == 0 && move_pages(from.data, to, geometry.row_bytes())) return;
  if (!worth_it || from.shared == 0) {
    return copy_planes(from.data, whole, to, whole, geometry.planes, used);
  }
  // What is mapped from elsewhere is a range of its own, and so is the rest of each plane.
  const size_t shared = whole_pages(geometry.used_plane_bytes(from.shared));
  for (int64_t i = 0; i < geometry.planes; ++i, from.data += whole, to += whole) {
    move_range(from.data, to, shared, std::min(shared, used));
    move_range(from.data + shared, to + shared, whole - shared, used - std::min(shared, used));
  }
}

void TensorMemory::exchange_rows(MovedRow a, MovedRow b, std::byte* scratch) const {
  if (moves_pages && geometry.used_bytes(std::max(a.used, b.used)) >= kWorthMoving) {
    move_row(a, scratch);
    move_row(b, a.data);
    move_row({scratch, a.used, a.shared}, b.data);
    // Pages that are mapped from elsewhere are there still when they are given back.
    if (a.shared == 0 || !map_over(scratch, geometry.row_bytes())) {
      discard_pages(scratch, geometry.row_bytes());
    }
    return;
  }
  const size_t bytes_a = geometry.used_plane_bytes(a.used);
  const size_t bytes_b = geometry.used_plane_bytes(b.used);
  const size_t both = std::min(bytes_a, bytes_b);
  for (int64_t i = 0; i < geometry.planes; ++i) {
    std::swap_ranges(a.data, a.data + both, b.data);
    if (bytes_a > both) std::memcpy(b.data + both, a.data + both, bytes_a - both);
    if (bytes_b > both) std::memcpy(a.data + both, b.data + both, bytes_b - both);
    a.data += geometry.plane_bytes();
    b.data += geometry.plane_bytes();
  }
}

}  // namespace deltaport
