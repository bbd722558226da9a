// The memory behind the state of many sequences, wherever it is.
//
// A tensor is [slots, ...] and dense, so a run of neighbouring slots is a tensor by itself. A slot
// is where a sequence's state lies at the moment; slots can be exchanged.
//
// Key/value caches that are updated in place have one buffer: a step only writes columns beyond a
// sequence's length, so one that fails has changed nothing that counts. Everything else has two, a
// step reads one and writes the other, and committing a slot exchanges them: so a failed or
// cancelled step leaves every sequence as it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "state_layout.h"

namespace deltaport {

class StateMemory {
 public:
  virtual ~StateMemory() = default;
  StateMemory(const StateMemory&) = delete;
  StateMemory& operator=(const StateMemory&) = delete;

  virtual const StateLayout& layout() const = 0;
  virtual int64_t slots() const = 0;
  virtual int64_t capacity() const = 0;

  // Makes room for more slots or columns (never fewer), keeping of each slot the first used[slot]
  // columns of its caches and all else. Throws CapacityError and changes nothing.
  virtual void reserve(int64_t slots, int64_t capacity, std::span<const int64_t> used) = 0;

  // Where tensor `t` of neighbouring slots from `slot` on is read by a step, and where written. For
  // a window of several slots they must agree on which buffer is current: see unify.
  virtual void* past(size_t t, int64_t slot) const = 0;
  virtual void* present(size_t t, int64_t slot) const = 0;
  // Makes `count` slots from `first` on agree, moving those in the minority. used[i] is of slot
  // first + i.
  virtual void unify(int64_t first, int64_t count, std::span<const int64_t> used) = 0;
  // Whether slot's current buffer is the second one: part of what names a window.
  virtual bool parity(int64_t slot) const = 0;
  // A step that wrote `count` slots from `first` on is done.
  virtual void commit(int64_t first, int64_t count) = 0;

  // Exchanges two slots; used columns of each.
  virtual void exchange(int64_t a, int64_t b, int64_t used_a, int64_t used_b) = 0;
  // Zeroes what a sequence starts from, and gives the slot's memory back where that can be done.
  virtual void clear(int64_t slot) = 0;
  // Gives memory of caches back that holds nothing but columns from `used` on, likewise.
  virtual void trim(int64_t slot, int64_t used) = 0;
  // Copies `from`, whose caches have `used` columns, over `to`, which is clear.
  virtual void duplicate(int64_t from, int64_t to, int64_t used) = 0;

  // The part of tensor `t` that belongs to a slot, caches cut to `used` columns, dense.
  virtual size_t packed_bytes(size_t t, int64_t used) const = 0;
  virtual void pack(size_t t, int64_t slot, int64_t used, std::byte* out) const = 0;
  virtual void unpack(size_t t, int64_t slot, int64_t used, const std::byte* in) = 0;

  // Bytes of memory a slot takes with `used` columns.
  virtual size_t slot_bytes(int64_t used) const = 0;
  // Bytes of all buffers that are in memory now.
  virtual size_t resident_bytes() const = 0;

 protected:
  StateMemory() = default;
};

}  // namespace deltaport
