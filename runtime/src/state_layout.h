// Which tensors an engine carries from step to step: the rows of `state` in its manifest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace deltaport {

enum class ElementType { float32, float16, bfloat16, int64 };
enum class StateKind { kv, conv, recurrent };

// Stand for a named dimension in StateTensor::shape.
constexpr int64_t kSlots = -1;     // leads every shape: one slot a sequence
constexpr int64_t kCapacity = -2;  // how many tokens a key/value cache holds; once in each, there only

struct StateTensor {
  std::string input;
  std::string output;
  StateKind kind;
  ElementType dtype;
  std::vector<int64_t> shape;
  bool in_place;    // input and output may be one buffer
  bool rewindable;  // dropping the last tokens needs nothing but a shorter length
};

using StateLayout = std::vector<StateTensor>;

inline size_t item_size(ElementType type) {
  switch (type) {
    case ElementType::float32: return 4;
    case ElementType::int64: return 8;
    default: return 2;
  }
}

}  // namespace deltaport
