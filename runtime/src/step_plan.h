// What runs of the decoder are fed, worked out from who has tokens to run.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace deltaport {

// The next tokens of one row.
struct RowWork {
  int64_t row;
  std::span<const int64_t> tokens;  // at least one
  int64_t past;                     // tokens the row's state has seen
  int64_t first_logit;              // the first token after which logits are wanted, or their number
  int64_t slot = 0;                 // where the row's state lies when the run starts
};

// One run over neighbouring slots, one for each of its rows, and its int64 arrays.
struct StepPlan {
  int64_t first_slot = 0;
  std::vector<RowWork> rows;  // by slot
  int64_t width = 0;          // T: tokens of the longest row
  std::vector<int64_t> input_ids;    // [B,T]
  std::vector<int64_t> positions;    // [3,B,T]
  std::vector<int64_t> lengths;      // [B]
  std::vector<int64_t> past;         // [B]
  std::vector<int64_t> logit_index;  // [R]

  // Fills the arrays from `rows`, whose slots follow each other.
  void lay_out();
  int64_t size() const { return static_cast<int64_t>(rows.size()); }
};

// Which of `work` run together: all where a step may be `ragged`; elsewhere rows of several tokens
// alone, and those of one token together.
std::vector<std::vector<RowWork>> group_rows(std::vector<RowWork> work, bool ragged);

// Groups of at most `most` rows; those of one that is cut, whose slots follow each other, still do.
std::vector<std::vector<RowWork>> cut_groups(std::vector<std::vector<RowWork>> groups, int64_t most);

// The first slot of the window of as many slots as `taken` has that needs the fewest moves to hold
// those, of `slots` slots in all.
int64_t best_window(std::span<const int64_t> taken, int64_t slots);

}  // namespace deltaport
