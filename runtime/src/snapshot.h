// A sequence set aside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace deltaport {

struct Snapshot {
  std::vector<int64_t> tokens;
  int64_t length = 0;          // tokens that the state has seen
  std::vector<float> logits;   // [V] after the last token, or empty
  // Per tensor of the state its part without the slot dimension, dense; caches end at `length`.
  std::vector<std::vector<std::byte>> state;
};

}  // namespace deltaport
