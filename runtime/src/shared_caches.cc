#include "shared_caches.h"

#include <algorithm>
#include <cstring>

namespace deltaport {

namespace {

// Calls visit(plane in memory, where it lies in a file of such planes, bytes that count) for each
// plane of a slot that can be mapped, as long as it returns true. Whether it always did.
template <class Visit>
bool all_planes(std::span<const TensorMemory> tensors, int64_t slot, int64_t columns,
                const Visit& visit) {
  size_t at = 0;
  for (const TensorMemory& tensor : tensors) {
    if (!tensor.shares_pages()) continue;
    const Geometry& geometry = tensor.geometry;
    const size_t bytes = geometry.used_plane_bytes(columns);
    std::byte* plane = tensor.row(0, slot);
    for (int64_t i = 0; i < geometry.planes; ++i, plane += geometry.plane_bytes()) {
      if (!visit(plane, at, bytes)) return false;
      at += whole_pages(bytes);
    }
  }
  return true;
}

// Moves pages, or copies the first bytes, those that count. Whether pages could be moved.
bool move_range(std::byte* from, std::byte* to, size_t bytes, size_t used) {
  if (bytes == 0 || move_pages(from, to, bytes)) return true;
  if (used > 0) std::memcpy(to, from, used);
  return false;
}

}  // namespace

int64_t shared_ranges(std::span<const TensorMemory> tensors) {
  int64_t ranges = 0;
  for (const TensorMemory& tensor : tensors) {
    if (tensor.shares_pages()) ranges += 2 * tensor.geometry.planes;  // the shared part, the rest
  }
  return ranges;
}

size_t shared_bytes(std::span<const TensorMemory> tensors, int64_t columns) {
  size_t all = 0;
  for (const TensorMemory& tensor : tensors) {
    if (!tensor.shares_pages()) continue;
    const Geometry& geometry = tensor.geometry;
    all += static_cast<size_t>(geometry.planes) * whole_pages(geometry.used_plane_bytes(columns));
  }
  return all;
}

std::shared_ptr<const SharedPages> store_columns(std::span<const TensorMemory> tensors,
                                                 int64_t slot, int64_t columns) {
  const auto pages = SharedPages::make(shared_bytes(tensors, columns));
  const bool stored = pages != nullptr &&
                      all_planes(tensors, slot, columns, [&](auto* plane, size_t at, size_t bytes) {
                        return pages->write(at, plane, bytes);
                      });
  return stored ? pages : nullptr;
}

bool map_columns(std::span<const TensorMemory> tensors, int64_t slot, const CacheMapping& mapping) {
  return all_planes(tensors, slot, mapping.columns, [&](auto* plane, size_t at, size_t bytes) {
    return mapping.pages->map(at, plane, whole_pages(bytes));
  });
}

bool read_columns(std::span<const TensorMemory> tensors, int64_t slot,
                  const CacheMapping& mapping) {
  return all_planes(tensors, slot, mapping.columns, [&](auto* plane, size_t at, size_t bytes) {
    return mapping.pages->read(at, plane, bytes);
  });
}

bool renew_caches(std::span<const TensorMemory> tensors, int64_t slot) {
  bool all = true;
  for (const TensorMemory& tensor : tensors) {
    if (!tensor.shares_pages()) continue;
    all = map_over(tensor.row(0, slot), tensor.geometry.row_bytes()) && all;
  }
  return all;
}

bool move_mapped(const TensorMemory& tensor, MappedRow from, std::byte* to) {
  const Geometry& geometry = tensor.geometry;
  if (from.mapping.plain) {
    tensor.move_row(from.data, to, from.used);
    return true;
  }
  const size_t whole = geometry.plane_bytes(), used = geometry.used_plane_bytes(from.used);
  bool moved = true;
  if (from.mapping.columns > 0) {
    const size_t shared = whole_pages(geometry.used_plane_bytes(from.mapping.columns));
    for (int64_t i = 0; i < geometry.planes; ++i) {
      std::byte* const plane = from.data + static_cast<size_t>(i) * whole;
      std::byte* const target = to + static_cast<size_t>(i) * whole;
      moved = move_range(plane, target, shared, std::min(shared, used)) && moved;
      moved = move_range(plane + shared, target + shared, whole - shared,
                         used - std::min(shared, used)) && moved;
    }
  } else {
    copy_planes(from.data, whole, to, whole, geometry.planes, used);
  }
  return map_over(from.data, geometry.row_bytes()) && moved;
}

bool exchange_mapped(const TensorMemory& tensor, MappedRow a, MappedRow b, std::byte* scratch) {
  bool done = move_mapped(tensor, a, scratch);
  done = move_mapped(tensor, b, a.data) && done;
  done = move_mapped(tensor, {scratch, a.used, a.mapping}, b.data) && done;
  discard_pages(scratch, tensor.geometry.row_bytes());
  return done;
}

}  // namespace deltaport
