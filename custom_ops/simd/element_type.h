// How weights are stored.
#pragma once

#include <cstdint>

namespace deltaport {

enum class ElementType { kFloat32, kFloat16, kBFloat16 };

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

// A weight tensor in the type it is stored in.
struct Weights {
  const void* data = nullptr;
  ElementType type = ElementType::kFloat32;
};

// Calls body with data as a pointer to its element type.
template <class Body>
inline auto visit(const Weights& weights, Body body) {
  switch (weights.type) {
    case ElementType::kFloat16:
      return body(static_cast<const Float16*>(weights.data));
    case ElementType::kBFloat16:
      return body(static_cast<const BFloat16*>(weights.data));
    default:
      return body(static_cast<const float*>(weights.data));
  }
}

}  // namespace deltaport
