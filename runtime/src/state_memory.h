// The memory behind the state of many sequences: virtual memory reserved, pages committed as used.
//
// A tensor is [slots, ...] and dense, so a run of neighbouring slots is a tensor by itself. A slot
// is where a sequence's state lies at the moment; slots can be exchanged, by remapping pages where
// the system and the sizes allow it, else by copying.
//
// Key/value caches that are updated in place have one buffer: a step only writes columns beyond a
// sequence's length, so one that fails has changed nothing that counts. Everything else has two, a
// step reads one and writes the other, and committing a slot exchanges them: so a failed or
// cancelled step leaves every sequence as it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "state_layout.h"

namespace deltaport {

class StateMemory {
 public:
  // `slots` slots of caches with `capacity` columns. All fixed-size state starts at zero. Throws
  // CapacityError naming the tensor where the address space or memory does not suffice.
  StateMemory(StateLayout layout, int64_t slots, int64_t capacity);
  ~StateMemory();
  StateMemory(const StateMemory&) = delete;
  StateMemory& operator=(const StateMemory&) = delete;

  const StateLayout& layout() const;
  int64_t slots() const;
  int64_t capacity() const;

  // Makes room for more slots or columns (never fewer), keeping of each slot the first used[slot]
  // columns of its caches and all else. Throws CapacityError and changes nothing.
  void reserve(int64_t slots, int64_t capacity, std::span<const int64_t> used);

  // Where tensor `t` of neighbouring slots from `slot` on is read by a step, and where written. For
  // a window of several slots they must agree on which buffer is current: see unify.
  void* past(size_t t, int64_t slot) const;
  void* present(size_t t, int64_t slot) const;
  // Makes `count` slots from `first` on agree, moving those in the minority. used[i] is of slot
  // first + i.
  void unify(int64_t first, int64_t count, std::span<const int64_t> used);
  // Whether slot's current buffer is the second one: part of what names a window.
  bool parity(int64_t slot) const;
  // A step that wrote `count` slots from `first` on is done.
  void commit(int64_t first, int64_t count);

  // Exchanges two slots; used columns of each.
  void exchange(int64_t a, int64_t b, int64_t used_a, int64_t used_b);
  // Zeroes what a sequence starts from, and gives all pages of the slot back to the system.
  void clear(int64_t slot);
  // Gives back whole pages of caches that hold nothing but columns from `used` on.
  void trim(int64_t slot, int64_t used);
  // Copies `from`, whose caches have `used` columns, over `to`, which is clear. Where the system can
  // and it is worth it, both have the pages of caches in common, and copy those that they write.
  void duplicate(int64_t from, int64_t to, int64_t used);

  // The part of tensor `t` that belongs to a slot, caches cut to `used` columns, dense.
  size_t packed_bytes(size_t t, int64_t used) const;
  void pack(size_t t, int64_t slot, int64_t used, std::byte* out) const;
  void unpack(size_t t, int64_t slot, int64_t used, const std::byte* in);

  // Bytes of state a slot commits with `used` columns, in whole pages where it has pages of its own.
  // Pages in common count for each.
  size_t slot_bytes(int64_t used) const;
  // Bytes of all buffers that the system holds in memory now, as it says itself (mincore).
  size_t resident_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace deltaport
