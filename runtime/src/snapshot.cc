#include "snapshot.h"

#include <algorithm>

namespace deltaport {

bool Snapshot::covers(std::span<const int64_t> wanted) const {
  const int64_t count = static_cast<int64_t>(wanted.size());
  if (length > count) return false;
  // Logits after the last token come from running it, unless they were kept.
  const bool kept = !logits.empty() && length == static_cast<int64_t>(tokens.size());
  if (length == count && count > 0 && !kept) return false;
  return std::equal(tokens.begin(), tokens.begin() + length, wanted.begin());
}

size_t Snapshot::bytes() const {
  size_t all = tokens.size() * sizeof(int64_t) + logits.size() * sizeof(float);
  for (const SnapshotPart& part : state) all += part.size;
  return all;
}

}  // namespace deltaport
