// The memory behind the state of many sequences on the host: virtual memory reserved, pages
// committed as used. Slots are exchanged by remapping pages where the system and the sizes allow it,
// else by copying.
#pragma once

#include <memory>

#include "state_memory.h"

namespace deltaport {

class HostStateMemory final : public StateMemory {
 public:
  // `slots` slots of caches with `capacity` columns. All fixed-size state starts at zero. Throws
  // CapacityError naming the tensor where the address space or memory does not suffice.
  HostStateMemory(StateLayout layout, int64_t slots, int64_t capacity);
  ~HostStateMemory() override;

  const StateLayout& layout() const override;
  int64_t slots() const override;
  int64_t capacity() const override;
  void reserve(int64_t slots, int64_t capacity, std::span<const int64_t> used) override;

  void* past(size_t t, int64_t slot) const override;
  void* present(size_t t, int64_t slot) const override;
  void unify(int64_t first, int64_t count, std::span<const int64_t> used) override;
  bool parity(int64_t slot) const override;
  void commit(int64_t first, int64_t count) override;

  void exchange(int64_t a, int64_t b, int64_t used_a, int64_t used_b) override;
  void clear(int64_t slot) override;
  void trim(int64_t slot, int64_t used) override;
  // Where the system can and it is worth it, both have the pages of caches in common, and copy those
  // that they write.
  void duplicate(int64_t from, int64_t to, int64_t used) override;

  size_t packed_bytes(size_t t, int64_t used) const override;
  void pack(size_t t, int64_t slot, int64_t used, std::byte* out) const override;
  void unpack(size_t t, int64_t slot, int64_t used, const std::byte* in) override;

  // In whole pages where a slot has pages of its own. Pages in common count for each.
  size_t slot_bytes(int64_t used) const override;
  // As the system says itself (mincore).
  size_t resident_bytes() const override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace deltaport
