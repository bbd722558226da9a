#include "state_geometry.h"

#include <algorithm>
#include <string>

#include "errors.h"

namespace deltaport {

namespace {

// False where the product leaves int64, or a factor is no size.
bool multiply(int64_t& product, int64_t factor) {
  return factor >= 0 && !__builtin_mul_overflow(product, factor, &product);
}

}  // namespace

Geometry geometry_of(const StateTensor& tensor, int64_t slots, int64_t capacity) {
  const auto end = tensor.shape.end();
  const auto first = tensor.shape.begin() + (tensor.shape.empty() ? 0 : 1);
  const auto axis = std::find(first, end, kCapacity);
  const bool is_cache = axis != end;
  const int64_t columns = is_cache ? capacity : 1;
  int64_t planes = 1, column_bytes = static_cast<int64_t>(item_size(tensor.dtype));
  bool fits = true;
  for (auto size = first; size != end; ++size) {
    if (size == axis) continue;
    fits = fits && multiply(is_cache && size < axis ? planes : column_bytes, *size);
  }
  // By parts: a factor of zero must not hide that one of them is too large.
  int64_t all = planes;
  fits = fits && multiply(all, columns) && multiply(all, column_bytes) && multiply(all, slots);
  if (!fits) throw_no_memory(tensor, slots, capacity);
  const bool in_place = tensor.kind == StateKind::kv && tensor.in_place;
  return {is_cache, in_place ? 1 : 2, planes, columns, static_cast<size_t>(column_bytes)};
}

void throw_no_memory(const StateTensor& tensor, int64_t slots, int64_t capacity) {
  std::string shape;
  for (const int64_t size : tensor.shape) {
    if (!shape.empty()) shape += ", ";
    shape += std::to_string(size == kSlots ? slots : size == kCapacity ? capacity : size);
  }
  throw CapacityError("no memory for " + tensor.input + " of shape [" + shape +
                      "]; use fewer sequences or shorter ones");
}

}  // namespace deltaport
