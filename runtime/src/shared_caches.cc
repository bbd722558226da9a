#include "shared_caches.h"

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

bool renew_caches(std::span<const TensorMemory> tensors, int64_t slot) {
  bool all = true;
  for (const TensorMemory& tensor : tensors) {
    if (!tensor.shares_pages()) continue;
    all = map_over(tensor.row(0, slot), tensor.geometry.row_bytes()) && all;
  }
  return all;
}

}  // namespace deltaport
