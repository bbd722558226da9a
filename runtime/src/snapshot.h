// A sequence set aside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "state_layout.h"

namespace deltaport {

// Bytes that are written once: not zeroed before.
struct SnapshotPart {
  std::unique_ptr<std::byte[]> data;
  size_t size = 0;

  SnapshotPart() = default;
  explicit SnapshotPart(size_t size)
      : data(std::make_unique_for_overwrite<std::byte[]>(size)), size(size) {}
};

struct Snapshot {
  std::string identity;  // of the files of the engine it belongs to
  StateLayout layout;
  std::vector<int64_t> tokens;
  int64_t length = 0;          // tokens that the state has seen
  std::vector<float> logits;   // [V] after the last token, or empty
  // Per tensor of the layout its part without the slot dimension, dense; caches end at `length`.
  std::vector<SnapshotPart> state;

  // Whether running the rest of `tokens` from here on gives a sequence of exactly these, with logits.
  bool covers(std::span<const int64_t> tokens) const;
  // Of tokens, state and logits.
  size_t bytes() const;
};

}  // namespace deltaport
