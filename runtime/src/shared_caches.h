// First columns of caches that slots have in common, as copies that a slot makes only where it writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "shared_pages.h"
#include "tensor_memory.h"

namespace deltaport {

// Below this, of all caches together, copying is faster than mapping.
constexpr size_t kWorthSharing = 512 << 10;

// Where the pages of a slot's caches come from.
struct CacheMapping {
  std::shared_ptr<const SharedPages> pages;  // those of the first `columns` columns; null: its own
  int64_t columns = 0;
  bool plain = true;  // surely no page but the buffers' own
};

// Of the caches among `tensors` that can be mapped (TensorMemory::shares_pages):

// Ranges that the system has to keep a record of for each slot that shares.
int64_t shared_ranges(std::span<const TensorMemory> tensors);
// Bytes of `columns` columns, each plane in whole pages.
size_t shared_bytes(std::span<const TensorMemory> tensors, int64_t columns);
// A copy of a slot's first `columns` for others to map. Null where there is no memory for it.
std::shared_ptr<const SharedPages> store_columns(std::span<const TensorMemory> tensors,
                                                 int64_t slot, int64_t columns);
// Maps the columns over a slot's. False where the system could not: the slot has some of these pages
// and some of those it had.
bool map_columns(std::span<const TensorMemory> tensors, int64_t slot, const CacheMapping& mapping);
// Gives a slot pages of its own, which read as zero. False where the system could not.
bool renew_caches(std::span<const TensorMemory> tensors, int64_t slot);

}  // namespace deltaport
