// Values of a type that is known when a kernel runs: one kernel for all of them, where a switch
// that all threads take alike costs next to nothing. And wide reads.
#pragma once

#include "simt/narrow.h"

namespace deltaport::DELTAPORT_ISA {

DELTAPORT_INLINE float stored_at(const Weights& values, int64_t i) {
  switch (values.type) {
    case ElementType::kFloat16:
      return as_float(static_cast<const Float16*>(values.data)[i]);
    case ElementType::kBFloat16:
      return as_float(static_cast<const BFloat16*>(values.data)[i]);
    default:
      return static_cast<const float*>(values.data)[i];
  }
}

DELTAPORT_INLINE void store_at(void* to, ElementType type, int64_t i, float value) {
  switch (type) {
    case ElementType::kFloat16:
      return narrow(value, static_cast<Float16*>(to) + i);
    case ElementType::kBFloat16:
      return narrow(value, static_cast<BFloat16*>(to) + i);
    default:
      static_cast<float*>(to)[i] = value;
  }
}

// Four floats that a GPU reads at once.
struct alignas(16) Floats4 {
  float v[4];
};

// `count` words, 2 or 4, from memory that is aligned to as many: on a GPU in one read.
template <int count>
struct alignas(4 * count) Words {
  uint32_t v[count];
};

template <int count>
DELTAPORT_INLINE Words<count> read_words(const void* from) {
#if defined(__CUDA_ARCH__)
  return *static_cast<const Words<count>*>(from);
#else
  Words<count> words;
  memcpy(&words, from, sizeof words);
  return words;
#endif
}

}  // namespace deltaport::DELTAPORT_ISA
