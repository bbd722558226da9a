#include "session_rows.h"

namespace deltaport {

namespace {

std::string of_row(const Row& row, int64_t capacity, int64_t context, int64_t vocab_size) {
  const int64_t count = static_cast<int64_t>(row.tokens.size());
  if (!row.is_open()) return count || row.length || row.logits ? "is closed but holds things" : "";
  if (row.length < 0 || row.length > count) return "has a state of more tokens than it has";
  if (row.length > capacity) return "has more tokens in its state than caches have columns";
  if (count > context) return "has more tokens than the context";
  if (row.logits != nullptr && row.block == nullptr) return "has logits that nobody keeps";
  if (row.has_logits() && row.length != count) return "has logits after a token its state lacks";
  for (const int64_t token : row.tokens) {
    if (token < 0 || token >= vocab_size) return "has a token that is none";
  }
  return "";
}

}  // namespace

std::string broken_invariant(const Bookkeeping& books, int64_t capacity, int64_t context,
                             int64_t vocab_size) {
  const int64_t rows = static_cast<int64_t>(books.rows.size());
  const int64_t slots = static_cast<int64_t>(books.row_of_slot.size());
  for (int64_t i = 0; i < rows; ++i) {
    const Row& row = books.rows[i];
    const std::string name = "row " + std::to_string(i) + " ";
    if (row.slot >= slots) return name + "lies in a slot that is not there";
    if (row.is_open() && books.row_of_slot[row.slot] != i) return name + "lies in another's slot";
    const std::string problem = of_row(row, capacity, context, vocab_size);
    if (!problem.empty()) return name + problem;
  }
  for (int64_t slot = 0; slot < slots; ++slot) {
    const int64_t row = books.row_of_slot[slot];
    if (row == kNobody) continue;
    if (row < 0 || row >= rows || books.rows[row].slot != slot) {
      return "slot " + std::to_string(slot) + " is held for a row that lies elsewhere";
    }
  }
  return "";
}

}  // namespace deltaport
