// The bookkeeping of a session: its rows, where their state lies, and what must always hold.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace deltaport {

// Logits [rows,V] of one run, shared by the rows that it gave any.
struct LogitsBlock {
  std::shared_ptr<float[]> data;
  int64_t rows;
};

// One sequence.
struct Row {
  std::vector<int64_t> tokens;
  int64_t length = 0;  // tokens that its state has seen
  int64_t slot = -1;   // where its state lies; -1: the row is closed
  // Logits after its first `logits_at` tokens, if any: of use while these are all it has.
  std::shared_ptr<const LogitsBlock> block;
  const float* logits = nullptr;
  int64_t logits_at = -1;
  int64_t prompt = 0;  // tokens given, not chosen, since a prompt was read to its end
  uint64_t epoch = 0;  // counts what was done to the row other than letting it grow

  bool is_open() const { return slot >= 0; }
  bool is_waiting() const { return length < static_cast<int64_t>(tokens.size()); }
  bool has_logits() const {
    return logits != nullptr && logits_at == static_cast<int64_t>(tokens.size());
  }
};

constexpr int64_t kNobody = -1;

struct Bookkeeping {
  std::vector<Row> rows;
  std::vector<int64_t> row_of_slot;  // kNobody where a slot is free
};

// What does not hold of `books`, for caches of `capacity` columns and sequences of at most `context`
// tokens; empty if all is well. Sessions check it after every change in debug builds.
std::string broken_invariant(const Bookkeeping& books, int64_t capacity, int64_t context,
                             int64_t vocab_size);

}  // namespace deltaport
