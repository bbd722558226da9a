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

// Where the pages of a slot's caches come from. Of three kinds:
//   plain: from the buffers, each row in one range of the system's
//   shared: those of the first `columns` columns from elsewhere, which is a range by itself in each
//     plane, and so is the rest. `pages` has them, as long as the columns have not changed since.
//   unknown: what is left where the system failed half-way. Such a row is copied, never moved: the
//     system may move some of several ranges, and then fail.
struct CacheMapping {
  std::shared_ptr<const SharedPages> pages;
  int64_t columns = 0;
  bool plain = true;

  static CacheMapping unknown() { return {nullptr, 0, false}; }
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
// Copies the columns over a slot's. False where that cannot be.
bool read_columns(std::span<const TensorMemory> tensors, int64_t slot, const CacheMapping& mapping);
// Gives a slot pages of its own, which read as zero. False where the system could not.
bool renew_caches(std::span<const TensorMemory> tensors, int64_t slot);

// A row to be moved: its columns that count, and where its pages come from.
struct MappedRow {
  std::byte* data;
  int64_t used;
  const CacheMapping& mapping;
};
// Moves a row to where all pages are plain, and leaves plain ones behind. False where the system failed
// half-way: the contents are there, in unknown ranges.
bool move_mapped(const TensorMemory& tensor, MappedRow from, std::byte* to);
// Exchanges rows of a cache of which not all are plain, by way of `scratch`, which is and stays plain.
// False where the system failed half-way: the contents are exchanged, the mappings unknown.
bool exchange_mapped(const TensorMemory& tensor, MappedRow a, MappedRow b, std::byte* scratch);

}  // namespace deltaport
