// The memory behind the state of many sequences on a GPU. Caches have one size, and all memory is
// taken at once: nothing is given back before the session ends.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "device_library.h"
#include "state_geometry.h"
#include "state_memory.h"

namespace deltaport {

// What TensorRT wants of every address.
constexpr size_t kDeviceAlignment = 256;
inline size_t aligned(size_t bytes) {
  return (bytes + kDeviceAlignment - 1) / kDeviceAlignment * kDeviceAlignment;
}

class DeviceStateMemory final : public StateMemory {
 public:
  // As HostStateMemory. All that is done to it is put into `queue`. `apart`: slots are aligned, and
  // so several of them are no tensor.
  DeviceStateMemory(StateLayout layout, int64_t slots, int64_t capacity, bool apart,
                    std::shared_ptr<DeviceQueue> queue);

  const StateLayout& layout() const override { return layout_; }
  int64_t slots() const override { return slots_; }
  int64_t capacity() const override { return capacity_; }
  // Throws CapacityError for a larger capacity, too.
  void reserve(int64_t slots, int64_t capacity, std::span<const int64_t> used) override;

  void* past(size_t t, int64_t slot) const override { return current(tensors_[t], slot); }
  void* present(size_t t, int64_t slot) const override;
  void unify(int64_t first, int64_t count, std::span<const int64_t> used) override;
  bool parity(int64_t slot) const override { return parity_[slot]; }
  void commit(int64_t first, int64_t count) override;

  void exchange(int64_t a, int64_t b, int64_t used_a, int64_t used_b) override;
  void clear(int64_t slot) override;
  void trim(int64_t, int64_t) override {}  // a GPU's memory has no pages to give back
  void duplicate(int64_t from, int64_t to, int64_t used) override;

  size_t packed_bytes(size_t t, int64_t used) const override;
  void pack(size_t t, int64_t slot, int64_t used, std::byte* out) const override;
  void unpack(size_t t, int64_t slot, int64_t used, const std::byte* in) override;

  size_t slot_bytes(int64_t used) const override;
  size_t resident_bytes() const override;

 private:
  struct Tensor {
    Geometry geometry;
    size_t stride;  // bytes from one slot to the next
    std::array<DeviceMemory, 2> buffers;

    std::byte* row(bool second, int64_t slot) const;
  };

  Tensor take(const StateTensor& tensor, int64_t slots) const;
  std::byte* current(const Tensor& tensor, int64_t slot) const {
    return tensor.row(parity_[slot], slot);
  }
  // Copies what counts of a row.
  void copy_row(const Geometry& geometry, std::byte* to, const std::byte* from, int64_t used) const;

  StateLayout layout_;
  int64_t slots_, capacity_;
  bool apart_;
  std::shared_ptr<DeviceQueue> queue_;
  std::vector<Tensor> tensors_;
  DeviceMemory scratch_;      // a row of any tensor
  std::vector<bool> parity_;  // of slots: whether the second buffer is current
};

}  // namespace deltaport
