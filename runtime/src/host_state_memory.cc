#include "host_state_memory.h"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "errors.h"
#include "shared_caches.h"
#include "tensor_memory.h"

namespace deltaport {

namespace {

// Rows that are moved end up as one record each in the system's tables. Linux allows a process
// 65530 by default; beyond this share of them rows are copied.
constexpr int64_t kMostMoved = 16384;
// Of rows that share pages, likewise.
constexpr int64_t kMostShared = 16384;

}  // namespace

struct HostStateMemory::Impl {
  StateLayout layout;
  int64_t slots;
  int64_t capacity;
  std::vector<TensorMemory> tensors;
  std::vector<bool> parity;
  std::vector<CacheMapping> mappings;
  VirtualRegion scratch;  // a row of any tensor whose pages can be moved

  Impl(StateLayout given, int64_t slots, int64_t capacity);
  std::byte* current(const TensorMemory& tensor, int64_t slot) const {
    return tensor.row(tensor.current(parity[slot]), slot);
  }
  // Gives the slot caches with pages of its own, which read as zero.
  void renew(int64_t slot);
  // Lets `to` have the columns of `from`, as many as it returns, by mapping.
  int64_t share(int64_t from, int64_t to, int64_t used);
  // Moves slot's state to the other buffers.
  void change_buffers(int64_t slot, int64_t used);
  // Takes the state of all slots over from memory of the same layout and no more room.
  void take_over(Impl& old, std::span<const int64_t> used);
};

HostStateMemory::Impl::Impl(StateLayout given, int64_t slots, int64_t capacity)
    : layout(std::move(given)), slots(slots), capacity(capacity) {
  int64_t moved = 0;
  size_t largest = 0;
  for (const StateTensor& tensor : layout) {
    TensorMemory memory{geometry_of(tensor, slots, capacity), false, {}};
    const Geometry& geometry = memory.geometry;
    const size_t row_bytes = geometry.row_bytes();
    if (row_bytes >= kWorthMoving && row_bytes % page_size() == 0 &&
        slots <= (kMostMoved - moved) / geometry.buffers) {
      memory.moves_pages = true;
      moved += slots * geometry.buffers;
      largest = std::max(largest, row_bytes);
    }
    try {
      for (int i = 0; i < geometry.buffers; ++i) {
        memory.buffers[i] = VirtualRegion(static_cast<size_t>(slots) * row_bytes);
      }
      if (memory.moves_pages && largest > scratch.size()) scratch = VirtualRegion(largest);
    } catch (const std::bad_alloc&) {
      throw_no_memory(tensor, slots, capacity);
    }
    tensors.push_back(std::move(memory));
  }
  try {
    parity.resize(static_cast<size_t>(slots), false);
    mappings.resize(static_cast<size_t>(slots));
  } catch (const std::exception&) {  // too long, or out of memory
    throw CapacityError("no memory for " + std::to_string(slots) + " sequences; use fewer");
  }
}

void HostStateMemory::Impl::change_buffers(int64_t slot, int64_t used) {
  for (const TensorMemory& tensor : tensors) {
    if (tensor.geometry.buffers == 1) continue;
    tensor.move_row(current(tensor, slot), tensor.row(tensor.current(!parity[slot]), slot), used);
  }
  parity[slot] = !parity[slot];
}

void HostStateMemory::Impl::take_over(Impl& old, std::span<const int64_t> used) {
  std::copy(old.parity.begin(), old.parity.end(), parity.begin());
  // Where the same caches can be mapped, slots go on sharing them.
  const bool same = capacity == old.capacity &&
                    std::ranges::equal(tensors, old.tensors, {}, &TensorMemory::shares_pages,
                                       &TensorMemory::shares_pages);
  if (same) std::ranges::copy(old.mappings, mappings.begin());
  for (size_t t = 0; t < tensors.size(); ++t) {
    TensorMemory& from = old.tensors[t];
    TensorMemory& to = tensors[t];
    if (slots == old.slots && from.geometry == to.geometry) {
      // Not the rest: what the scratch row serves is a matter of all tensors together.
      std::swap(from.buffers, to.buffers);
      continue;
    }
    for (int64_t slot = 0; slot < old.slots; ++slot) {
      std::byte* const target = current(to, slot);
      std::byte* const source = old.current(from, slot);
      const CacheMapping& mapping = old.mappings[slot];
      const bool own = mapping.plain || !from.shares_pages();
      if (from.moves_pages && from.geometry == to.geometry && own) {
        from.move_row(source, target, used[slot]);
      } else if (same && from.shares_pages()) {
        const bool known = move_mapped(from, {source, used[slot], mapping}, target);
        if (!known) mappings[slot] = CacheMapping::unknown();
      } else {
        copy_planes(source, from.geometry.plane_bytes(), target, to.geometry.plane_bytes(),
                    to.geometry.planes, to.geometry.used_plane_bytes(used[slot]));
      }
    }
    from.buffers = {};
  }
}

void HostStateMemory::Impl::renew(int64_t slot) {
  if (mappings[slot].plain) return;
  mappings[slot] = renew_caches(tensors, slot) ? CacheMapping() : CacheMapping::unknown();
}

int64_t HostStateMemory::Impl::share(int64_t from, int64_t to, int64_t used) {
  const int64_t sharing =
      std::ranges::count_if(mappings, [](const CacheMapping& mapping) { return !mapping.plain; });
  if (shared_bytes(tensors, used) < kWorthSharing ||
      sharing + 2 > kMostShared / shared_ranges(tensors)) {
    return 0;
  }
  // Over what is there already the ranges would not be those that a mapping says.
  renew(to);
  CacheMapping& origin = mappings[from];
  if (!mappings[to].plain || (!origin.plain && origin.columns == 0)) return 0;
  if (origin.pages == nullptr || origin.columns > used || used - origin.columns > used / 4) {
    const CacheMapping fresh{store_columns(tensors, from, used), used, false};
    if (fresh.pages == nullptr) return 0;
    if (!map_columns(tensors, from, fresh)) {
      // Some of it may be gone: the only copy is that in the file.
      if (!read_columns(tensors, from, fresh)) std::abort();
      origin = CacheMapping::unknown();
      return 0;
    }
    origin = fresh;
  }
  if (map_columns(tensors, to, origin)) {
    mappings[to] = origin;
    return origin.columns;
  }
  mappings[to] = CacheMapping::unknown();
  return 0;
}

HostStateMemory::HostStateMemory(StateLayout layout, int64_t slots, int64_t capacity)
    : impl_(std::make_unique<Impl>(std::move(layout), slots, capacity)) {}
HostStateMemory::~HostStateMemory() = default;

const StateLayout& HostStateMemory::layout() const { return impl_->layout; }
int64_t HostStateMemory::slots() const { return impl_->slots; }
int64_t HostStateMemory::capacity() const { return impl_->capacity; }
bool HostStateMemory::parity(int64_t slot) const { return impl_->parity[slot]; }

void HostStateMemory::reserve(int64_t slots, int64_t capacity, std::span<const int64_t> used) {
  slots = std::max(slots, impl_->slots);
  capacity = std::max(capacity, impl_->capacity);
  if (slots == impl_->slots && capacity == impl_->capacity) return;
  auto larger = std::make_unique<Impl>(impl_->layout, slots, capacity);
  larger->take_over(*impl_, used);
  impl_ = std::move(larger);
}

void* HostStateMemory::past(size_t t, int64_t slot) const {
  return impl_->current(impl_->tensors[t], slot);
}

void* HostStateMemory::present(size_t t, int64_t slot) const {
  const TensorMemory& tensor = impl_->tensors[t];
  return tensor.row(tensor.current(!impl_->parity[slot]), slot);
}

void HostStateMemory::unify(int64_t first, int64_t count, std::span<const int64_t> used) {
  int64_t second = 0;
  for (int64_t i = 0; i < count; ++i) second += impl_->parity[first + i] ? 1 : 0;
  const bool wanted = 2 * second > count;
  for (int64_t i = 0; i < count; ++i) {
    if (impl_->parity[first + i] != wanted) impl_->change_buffers(first + i, used[i]);
  }
}

void HostStateMemory::commit(int64_t first, int64_t count) {
  for (int64_t slot = first; slot < first + count; ++slot) impl_->parity[slot].flip();
}

void HostStateMemory::exchange(int64_t a, int64_t b, int64_t used_a, int64_t used_b) {
  if (a == b) return;
  const bool parity_a = impl_->parity[a], parity_b = impl_->parity[b];
  CacheMapping &mapping_a = impl_->mappings[a], &mapping_b = impl_->mappings[b];
  const bool plain = mapping_a.plain && mapping_b.plain;
  bool known = true;
  const int64_t shorter = std::min(used_a, used_b), longer = std::max(used_a, used_b);
  for (const TensorMemory& tensor : impl_->tensors) {
    const int buffer_a = tensor.current(parity_a), buffer_b = tensor.current(parity_b);
    if (buffer_a == buffer_b) {
      std::byte *const row_a = tensor.row(buffer_a, a), *const row_b = tensor.row(buffer_b, b);
      if (tensor.shares_pages() && !plain) {
        known = exchange_mapped(tensor, {row_a, used_a, mapping_a}, {row_b, used_b, mapping_b},
                                impl_->scratch.data()) && known;
      } else {
        tensor.exchange_rows(row_a, row_b, used_a, used_b, impl_->scratch.data());
      }
    } else {
      // Each moves to where the other has nothing that counts.
      tensor.move_row(tensor.row(buffer_a, a), tensor.row(buffer_a, b), used_a);
      tensor.move_row(tensor.row(buffer_b, b), tensor.row(buffer_b, a), used_b);
    }
    // The one that has fewer columns now holds no more pages than it did where it was.
    if (tensor.geometry.is_cache) tensor.discard_columns(used_a > used_b ? a : b, shorter, longer);
  }
  impl_->parity[a] = parity_b;
  impl_->parity[b] = parity_a;
  std::swap(mapping_a, mapping_b);
  if (!known) mapping_a = mapping_b = CacheMapping::unknown();
  if (used_b == 0) impl_->renew(a);
  if (used_a == 0) impl_->renew(b);
}

void HostStateMemory::clear(int64_t slot) {
  impl_->renew(slot);
  for (const TensorMemory& tensor : impl_->tensors) {
    const size_t bytes = tensor.geometry.row_bytes();
    for (int buffer = 0; buffer < tensor.geometry.buffers; ++buffer) {
      discard_pages(tensor.row(buffer, slot), bytes);
    }
    if (!tensor.geometry.is_cache) zero(impl_->current(tensor, slot), bytes);
  }
}

void HostStateMemory::trim(int64_t slot, int64_t used) {
  // Others may come after them.
  if (used < impl_->mappings[slot].columns) impl_->mappings[slot].pages = nullptr;
  for (const TensorMemory& tensor : impl_->tensors) {
    if (tensor.geometry.is_cache) tensor.discard_columns(slot, used, impl_->capacity);
  }
}

void HostStateMemory::duplicate(int64_t from, int64_t to, int64_t used) {
  impl_->parity[to] = impl_->parity[from];
  const int64_t shared = impl_->share(from, to, used);
  for (const TensorMemory& tensor : impl_->tensors) {
    const Geometry& geometry = tensor.geometry;
    const size_t done = tensor.shares_pages() ? geometry.used_plane_bytes(shared) : 0;
    copy_planes(impl_->current(tensor, from) + done, geometry.plane_bytes(),
                impl_->current(tensor, to) + done, geometry.plane_bytes(), geometry.planes,
                geometry.used_plane_bytes(used) - done);
  }
}

size_t HostStateMemory::packed_bytes(size_t t, int64_t used) const {
  return impl_->tensors[t].geometry.used_bytes(used);
}

void HostStateMemory::pack(size_t t, int64_t slot, int64_t used, std::byte* out) const {
  const TensorMemory& tensor = impl_->tensors[t];
  const size_t bytes = tensor.geometry.used_plane_bytes(used);
  copy_planes(impl_->current(tensor, slot), tensor.geometry.plane_bytes(), out, bytes,
              tensor.geometry.planes, bytes);
}

void HostStateMemory::unpack(size_t t, int64_t slot, int64_t used, const std::byte* in) {
  const TensorMemory& tensor = impl_->tensors[t];
  const size_t bytes = tensor.geometry.used_plane_bytes(used);
  impl_->mappings[slot].pages = nullptr;
  copy_planes(in, bytes, impl_->current(tensor, slot), tensor.geometry.plane_bytes(),
              tensor.geometry.planes, bytes);
}

size_t HostStateMemory::slot_bytes(int64_t used) const {
  const size_t page = page_size();
  size_t all = 0;
  for (const TensorMemory& tensor : impl_->tensors) {
    const Geometry& geometry = tensor.geometry;
    size_t plane = geometry.used_plane_bytes(used);
    if (geometry.is_cache && geometry.plane_bytes() % page == 0) {
      plane = (plane + page - 1) / page * page;
    }
    all += static_cast<size_t>(geometry.planes * geometry.buffers) * plane;
  }
  return all;
}

size_t HostStateMemory::resident_bytes() const {
  size_t all = 0;
  for (const TensorMemory& tensor : impl_->tensors) {
    for (int i = 0; i < tensor.geometry.buffers; ++i) all += tensor.buffers[i].resident_bytes();
  }
  return all;
}

}  // namespace deltaport
