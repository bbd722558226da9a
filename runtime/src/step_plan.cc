#include "step_plan.h"

#include <algorithm>

namespace deltaport {

void StepPlan::lay_out() {
  const int64_t B = size();
  width = 0;
  for (const RowWork& row : rows) width = std::max<int64_t>(width, row.tokens.size());
  const int64_t T = width;
  first_slot = rows.front().slot;
  input_ids.assign(B * T, 0);
  positions.resize(3 * B * T);
  lengths.resize(B);
  past.resize(B);
  logit_index.clear();
  for (int64_t b = 0; b < B; ++b) {
    const RowWork& row = rows[b];
    const int64_t count = static_cast<int64_t>(row.tokens.size());
    std::ranges::copy(row.tokens, input_ids.begin() + b * T);
    lengths[b] = count;
    past[b] = row.past;
    for (int64_t axis = 0; axis < 3; ++axis) {
      for (int64_t t = 0; t < T; ++t) positions[(axis * B + b) * T + t] = row.past + t;
    }
    for (int64_t t = row.first_logit; t < count; ++t) logit_index.push_back(b * T + t);
  }
}

std::vector<std::vector<RowWork>> group_rows(std::vector<RowWork> work, bool ragged) {
  std::vector<std::vector<RowWork>> groups;
  if (ragged) {
    groups.push_back(std::move(work));
    return groups;
  }
  std::vector<RowWork> singles;
  for (RowWork& row : work) {
    if (row.tokens.size() == 1) {
      singles.push_back(row);
    } else {
      groups.push_back({row});
    }
  }
  if (!singles.empty()) groups.push_back(std::move(singles));
  return groups;
}

std::vector<std::vector<RowWork>> cut_groups(std::vector<std::vector<RowWork>> groups,
                                             int64_t most) {
  std::vector<std::vector<RowWork>> cut;
  for (const std::vector<RowWork>& group : groups) {
    const std::span<const RowWork> rows(group);
    for (size_t first = 0; first < rows.size();) {
      const size_t count = std::min(rows.size() - first, static_cast<size_t>(most));
      const auto part = rows.subspan(first, count);
      cut.emplace_back(part.begin(), part.end());
      first += count;
    }
  }
  return cut;
}

int64_t best_window(std::span<const int64_t> taken, int64_t slots) {
  const int64_t size = static_cast<int64_t>(taken.size());
  std::vector<int64_t> before(slots + 1, 0);  // how many of the slots below each are taken
  for (const int64_t slot : taken) ++before[slot + 1];
  for (int64_t slot = 0; slot < slots; ++slot) before[slot + 1] += before[slot];
  int64_t best = 0, most = -1;
  for (int64_t first = 0; first + size <= slots; ++first) {
    const int64_t inside = before[first + size] - before[first];
    if (inside > most) best = first, most = inside;
  }
  return best;
}

}  // namespace deltaport
