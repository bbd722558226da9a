// Prompts of a session, step by step to their end.

#include <map>

#include "session.h"

namespace deltaport {

void Session::prefill(std::span<const RowTokens> given, int64_t chunk, Which which,
                      const Between& between, const TakeLogits& take) {
  std::vector<int64_t> rows;
  std::map<int64_t, int64_t> before;
  for (const auto& [row, tokens] : given) {
    rows.push_back(row);
    before[row] = static_cast<int64_t>(this->row(row).tokens.size());
  }
  append(given, {}, chunk, which == Which::last);
  bool ran = false;
  try {
    for (auto next = waiting(rows); !next.empty(); next = waiting(rows)) {
      for (const RowLogits& found : step(next, chunk, which)) {
        if (take) take(found);
      }
      ran = true;
      if (between) between();
    }
  } catch (...) {
    for (const auto& [row, count] : before) {
      retract(row, count);
      if (!ran && count == 0) clear(row);  // of a prefix that it was to start from
    }
    throw;
  }
}

}  // namespace deltaport
