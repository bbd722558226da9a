// Sequences of a session that are set aside, taken up again, wound back and begun where others were.

#include <algorithm>
#include <new>
#include <utility>

#include "errors.h"
#include "session.h"

namespace deltaport {

Snapshot Session::snapshot(int64_t row) const {
  const Row& held = this->row(row);
  Snapshot taken{
      engine_->manifest().identity, memory_.layout(), held.tokens, held.length, {}, {}};
  if (held.has_logits()) {
    taken.logits.assign(held.logits, held.logits + engine_->manifest().vocab_size);
  }
  for (size_t t = 0; t < memory_.layout().size(); ++t) {
    SnapshotPart& part = taken.state.emplace_back(memory_.packed_bytes(t, held.length));
    memory_.pack(t, held.slot, held.length, part.data.get());
  }
  return taken;
}

void Session::check_fits(const Snapshot& snapshot) const {
  const Manifest& manifest = engine_->manifest();
  const int64_t count = static_cast<int64_t>(snapshot.tokens.size());
  bool fits = snapshot.identity == manifest.identity && snapshot.length >= 0 &&
              snapshot.length <= count && snapshot.state.size() == memory_.layout().size();
  for (size_t t = 0; fits && t < snapshot.state.size(); ++t) {
    fits = snapshot.state[t].size == memory_.packed_bytes(t, snapshot.length);
  }
  const size_t vocab_size = manifest.vocab_size;
  fits = fits && (snapshot.logits.empty() || snapshot.logits.size() == vocab_size);
  if (!fits) {
    throw InputError("the snapshot was taken with another engine than " + engine_->name() +
                     "; restore it in a session of its own engine");
  }
  if (count > context_) {
    throw CapacityError("the snapshot has " + std::to_string(count) +
                        " tokens, which exceed the context of " + std::to_string(context_) +
                        "; open the session with a larger context");
  }
}

// Gives `row`, for whose state there is room, the state and logits of a snapshot that fits; its
// tokens become those that the state has seen.
void Session::take_up(Row& row, const Snapshot& snapshot) {
  memory_.clear(row.slot);
  for (size_t t = 0; t < snapshot.state.size(); ++t) {
    memory_.unpack(t, row.slot, snapshot.length, snapshot.state[t].data.get());
  }
  row.tokens.assign(snapshot.tokens.begin(), snapshot.tokens.begin() + snapshot.length);
  row.length = snapshot.length;
  row.block.reset();
  row.logits = nullptr;
  row.prompt = 0;
  ++row.epoch;
  if (snapshot.logits.empty()) return;
  const auto block = std::make_shared<LogitsBlock>();
  block->data = std::make_unique<float[]>(snapshot.logits.size());
  block->rows = 1;
  std::ranges::copy(snapshot.logits, block->data.get());
  row.logits = block->data.get();
  row.logits_at = static_cast<int64_t>(snapshot.tokens.size());
  row.block = block;
}

void Session::restore(int64_t row, const Snapshot& snapshot) {
  this->row(row);
  check_fits(snapshot);
  reserve(snapshot.length);
  Row& back = open_row(row);
  take_up(back, snapshot);
  back.tokens = snapshot.tokens;
  verify();
}

int64_t Session::fork(int64_t row) {
  this->row(row);  // one that is closed must not be the one that is opened
  const int64_t made = open();  // may move the rows: look only afterwards
  const Row& origin = this->row(row);
  Row& copy = books_.rows[made];
  memory_.duplicate(origin.slot, copy.slot, origin.length);
  const int64_t slot = copy.slot;
  const uint64_t epoch = copy.epoch;
  copy = origin;
  copy.slot = slot;
  copy.epoch = epoch;
  verify();
  return made;
}

void Session::rewind(int64_t row, int64_t count, std::span<const Snapshot* const> snapshots,
                     const Between& between) {
  const std::vector<int64_t> wanted = tokens_until(row, count);
  if (wanted.size() == this->row(row).tokens.size()) return;
  if (count == 0) return clear(row);
  std::shared_ptr<const Snapshot> kept;
  if (prefixes_ != nullptr) kept = prefixes_->find(engine_->manifest().identity, wanted);
  const Snapshot* from = kept.get();
  for (const Snapshot* some : snapshots) {
    if (!some->covers(wanted)) continue;
    if (from == nullptr || some->length > from->length) from = some;
  }
  if (from == nullptr) {
    throw InputError("row " + std::to_string(row) + " cannot be wound back to " +
                     std::to_string(count) + " tokens: no snapshot was taken of these or fewer of "
                     "them; clear the row and give it its tokens again");
  }
  check_fits(*from);
  const size_t rows_before = books_.rows.size();
  const int64_t made = open();  // so that a step that fails leaves the row as it was
  const auto end = [&] {  // as if it had never been there
    close(made);
    books_.rows.resize(rows_before);
  };
  try {
    reserve(from->length);
    take_up(open_row(made), *from);
    const RowTokens rest{made, {wanted.begin() + from->length, wanted.end()}};
    prefill(std::span(&rest, 1), 0, Which::last, between);
  } catch (...) {
    end();
    throw;
  }
  Row &old = books_.rows[row], &fresh = books_.rows[made];
  std::swap(old, fresh);
  std::swap(books_.row_of_slot[old.slot], books_.row_of_slot[fresh.slot]);
  old.epoch = fresh.epoch + 1;
  end();
}

std::vector<int64_t> Session::tokens_until(int64_t row, int64_t count) const {
  const std::vector<int64_t>& tokens = this->row(row).tokens;
  if (count < 0 || count > static_cast<int64_t>(tokens.size())) {
    throw InputError("row " + std::to_string(row) + " has " + std::to_string(tokens.size()) +
                     " tokens and cannot be wound back to " + std::to_string(count) +
                     "; name an earlier position");
  }
  return {tokens.begin(), tokens.begin() + count};
}

// Lets an empty row, for whose tokens there is room, begin where another with the same first tokens
// was set aside. Returns how many those are.
int64_t Session::adopt_prefix(Row& row, std::span<const int64_t> tokens) {
  const auto found = prefixes_->find(engine_->manifest().identity, tokens);
  if (found == nullptr) return 0;
  const uint64_t epoch = row.epoch;
  take_up(row, *found);
  row.epoch = epoch;  // the row has only grown
  return found->length;
}

// Sets a row aside whose prompt was read to its end, if somebody wants it.
void Session::keep_prefix(int64_t row) {
  Row& read = books_.rows[row];
  const int64_t fresh = std::exchange(read.prompt, 0);
  if (prefixes_ == nullptr || fresh < prefixes_->least()) return;
  size_t bytes = read.tokens.size() * sizeof(int64_t) +
                 static_cast<size_t>(engine_->manifest().vocab_size) * sizeof(float);
  for (size_t t = 0; t < memory_.layout().size(); ++t) bytes += memory_.packed_bytes(t, read.length);
  if (!prefixes_->make_room(bytes)) return;
  try {
    prefixes_->keep(std::make_shared<const Snapshot>(snapshot(row)));
  } catch (const std::bad_alloc&) {
    // The step was right and its tokens count: without this copy some other prompt takes longer.
    prefixes_->clear();
  }
}

}  // namespace deltaport
