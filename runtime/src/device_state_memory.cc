#include "device_state_memory.h"

#include <algorithm>
#include <utility>

#include "errors.h"

namespace deltaport {

namespace {

DeviceMemory none(const device::Api& api) { return {nullptr, api.release}; }

}  // namespace

std::byte* DeviceStateMemory::Tensor::row(bool second, int64_t slot) const {
  const DeviceMemory& buffer = buffers[geometry.buffers == 2 && second ? 1 : 0];
  return buffer.get() + static_cast<size_t>(slot) * stride;
}

DeviceStateMemory::DeviceStateMemory(StateLayout layout, int64_t slots, int64_t capacity,
                                     bool apart, std::shared_ptr<DeviceQueue> queue)
    : layout_(std::move(layout)),
      slots_(slots),
      capacity_(capacity),
      apart_(apart),
      queue_(std::move(queue)),
      scratch_(none(queue_->api())),
      parity_(static_cast<size_t>(slots), false) {
  size_t largest = 0;
  for (const StateTensor& tensor : layout_) {
    tensors_.push_back(take(tensor, slots));
    largest = std::max(largest, tensors_.back().geometry.row_bytes());
  }
  scratch_ = device_memory(queue_->api(), largest);
  if (scratch_ == nullptr && largest != 0) throw_no_memory(layout_.front(), 1, capacity);
}

DeviceStateMemory::Tensor DeviceStateMemory::take(const StateTensor& tensor, int64_t slots) const {
  const device::Api& api = queue_->api();
  const Geometry geometry = geometry_of(tensor, slots, capacity_);
  const size_t stride = apart_ ? aligned(geometry.row_bytes()) : geometry.row_bytes();
  const size_t bytes = static_cast<size_t>(slots) * stride;
  Tensor taken{geometry, stride, {none(api), none(api)}};
  for (int i = 0; i < geometry.buffers; ++i) {
    taken.buffers[i] = device_memory(api, bytes);
    if (taken.buffers[i] == nullptr && bytes != 0) throw_no_memory(tensor, slots, capacity_);
    // Caches, too: what nobody attends to has weight 0, and 0 times what memory may hold is not 0.
    queue_->zero(taken.buffers[i].get(), bytes);
  }
  return taken;
}

void DeviceStateMemory::copy_row(const Geometry& geometry, std::byte* to, const std::byte* from,
                                 int64_t used) const {
  queue_->copy({to, geometry.plane_bytes(), from, geometry.plane_bytes(),
                geometry.used_plane_bytes(used), static_cast<size_t>(geometry.planes)});
}

void DeviceStateMemory::reserve(int64_t slots, int64_t capacity, std::span<const int64_t> used) {
  if (capacity > capacity_) {
    throw CapacityError("the caches hold " + std::to_string(capacity_) + " tokens of a sequence, " +
                        std::to_string(capacity) +
                        " are wanted; export the engine with a larger --context");
  }
  if (slots <= slots_) return;
  // One after the other, so that no more than one is there twice. Where one finds no memory, those
  // before it have room that is not used.
  for (size_t t = 0; t < tensors_.size(); ++t) {
    Tensor larger = take(layout_[t], slots);
    for (int64_t slot = 0; slot < slots_; ++slot) {
      copy_row(larger.geometry, larger.row(parity_[slot], slot), current(tensors_[t], slot),
               used[slot]);
    }
    queue_->finish();  // what is copied from goes now
    tensors_[t] = std::move(larger);
  }
  parity_.resize(static_cast<size_t>(slots), false);
  slots_ = slots;
}

void* DeviceStateMemory::present(size_t t, int64_t slot) const {
  return tensors_[t].row(!parity_[slot], slot);
}

void DeviceStateMemory::unify(int64_t first, int64_t count, std::span<const int64_t> used) {
  const auto begin = parity_.begin() + first;
  const bool wanted = 2 * std::count(begin, begin + count, true) > count;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t slot = first + i;
    if (parity_[slot] == wanted) continue;
    for (const Tensor& tensor : tensors_) {
      if (tensor.geometry.buffers == 1) continue;
      copy_row(tensor.geometry, tensor.row(wanted, slot), current(tensor, slot), used[i]);
    }
    parity_[slot] = wanted;
  }
}

void DeviceStateMemory::commit(int64_t first, int64_t count) {
  for (int64_t slot = first; slot < first + count; ++slot) parity_[slot].flip();
}

void DeviceStateMemory::exchange(int64_t a, int64_t b, int64_t used_a, int64_t used_b) {
  if (a == b) return;
  const bool parity_a = parity_[a], parity_b = parity_[b];
  for (const Tensor& tensor : tensors_) {
    copy_row(tensor.geometry, scratch_.get(), current(tensor, a), used_a);
    copy_row(tensor.geometry, tensor.row(parity_b, a), current(tensor, b), used_b);
    copy_row(tensor.geometry, tensor.row(parity_a, b), scratch_.get(), used_a);
  }
  parity_[a] = parity_b;
  parity_[b] = parity_a;
}

void DeviceStateMemory::clear(int64_t slot) {
  for (const Tensor& tensor : tensors_) {
    if (tensor.geometry.is_cache) continue;
    queue_->zero(current(tensor, slot), tensor.geometry.row_bytes());
  }
}

void DeviceStateMemory::duplicate(int64_t from, int64_t to, int64_t used) {
  parity_[to] = parity_[from];
  for (const Tensor& tensor : tensors_) {
    copy_row(tensor.geometry, current(tensor, to), current(tensor, from), used);
  }
}

size_t DeviceStateMemory::packed_bytes(size_t t, int64_t used) const {
  return tensors_[t].geometry.used_bytes(used);
}

void DeviceStateMemory::pack(size_t t, int64_t slot, int64_t used, std::byte* out) const {
  const Geometry& geometry = tensors_[t].geometry;
  const size_t bytes = geometry.used_plane_bytes(used);
  queue_->copy({out, bytes, current(tensors_[t], slot), geometry.plane_bytes(), bytes,
                static_cast<size_t>(geometry.planes)});
  queue_->finish();
}

void DeviceStateMemory::unpack(size_t t, int64_t slot, int64_t used, const std::byte* in) {
  const Geometry& geometry = tensors_[t].geometry;
  const size_t bytes = geometry.used_plane_bytes(used);
  queue_->copy({current(tensors_[t], slot), geometry.plane_bytes(), in, bytes, bytes,
                static_cast<size_t>(geometry.planes)});
  queue_->finish();  // `in` may go now
}

size_t DeviceStateMemory::slot_bytes(int64_t) const {
  return resident_bytes() / static_cast<size_t>(slots_);
}

size_t DeviceStateMemory::resident_bytes() const {
  size_t all = 0;
  for (const Tensor& tensor : tensors_) {
    all += static_cast<size_t>(slots_ * tensor.geometry.buffers) * tensor.stride;
  }
  return all;
}

}  // namespace deltaport
