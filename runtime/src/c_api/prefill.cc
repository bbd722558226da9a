// Running the model over tokens, in the C layer.

#include <algorithm>
#include <map>

#include "c_api/handles.h"

using namespace deltaport;
using namespace deltaport::c_api;

namespace {

// Gives the rows their tokens and runs them to the end; what belongs to row i of `given` of the
// logits goes to the i-th place of `logits`, unless that is null.
void prefill(Session& session, std::span<const deltaport_row_tokens> given, float* logits) {
  const int64_t vocab_size = session.engine().manifest().vocab_size;
  std::vector<RowTokens> tokens;
  std::map<int64_t, float*> places;
  for (size_t i = 0; i < given.size(); ++i) {
    const int64_t row = given[i].row;
    session.row(row);  // refused though it is given nothing
    const std::span fresh = items(given[i].tokens, given[i].count, "tokens");
    if (fresh.empty()) continue;
    tokens.emplace_back(row, std::vector<int64_t>(fresh.begin(), fresh.end()));
    if (logits != nullptr) places[row] = logits + i * vocab_size;
  }
  session.prefill(tokens, 0, Which::last);
  for (const auto& [row, place] : places) std::copy_n(session.row(row).logits, vocab_size, place);
}

}  // namespace

extern "C" {

deltaport_status deltaport_session_prefill(deltaport_session* session,
                                           const deltaport_row_tokens* given, size_t count,
                                           float* logits, size_t logits_capacity) {
  return guarded([&] {
    Session& opened = *need(session, "session").session;
    const std::span rows = items(given, count, "given");
    std::vector<int64_t> named;
    for (const deltaport_row_tokens& row : rows) named.push_back(row.row);
    check_distinct(std::move(named));
    const size_t vocab_size = opened.engine().manifest().vocab_size;
    if (logits != nullptr && logits_capacity / vocab_size < count) {
      throw InputError("logits_capacity is " + std::to_string(logits_capacity) + ", expected " +
                       std::to_string(vocab_size) + " for each of " + std::to_string(count) +
                       " rows");
    }
    prefill(opened, rows, logits);
  });
}

}  // extern "C"
