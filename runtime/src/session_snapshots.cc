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
      engine_->manifest().identity, memory_->layout(), held.tokens, held.length, {}, {}};
  if (held.has_logits()) {
    taken.logits.assign(held.logits, held.logits + engine_->manifest().vocab_size);
  }
  for (size_t t = 0; t < memory_->layout().size(); ++t) {
    SnapshotPart& part = taken.state.emplace_back(memory_->packed_bytes(t, held.length));
    memory_->pack(t, held.slot, held.length, part.data.get());
  }
  return taken;
}

void Session::check_fits(const Snapshot& snapshot) const {
  const Manifest& manifest = engine_->manifest();
  const int64_t count = static_cast<int64_t>(snapshot.tokens.size());
  bool fits = snapshot.identity == manifest.identity && snapshot.length >= 0 &&
              snapshot.length <= count && snapshot.state.size() == memory_->layout().size();
  for (size_t t = 0; fits && t < snapshot.state.size(); ++t) {
    fits = snapshot.state[t].size == memory_->packed_bytes(t, snapshot.length);
  }
  const size_t vocab_size = manifest.vocab_size;
  fits = fits && (snapshot.logits.empty() ||
                  (snapshot.logits.size() == vocab_size && snapshot.length == count));
  if (!fits) {
    throw InputError("the snapshot was taken with another engine than " + engine_->name() +
                     "; restore it in a session of its own engine");
  }
}

namespace {

// A row as a snapshot has it, with the first `count` of its tokens.
Row row_of(const Snapshot& snapshot, int64_t count) {
  Row row;
  row.tokens.assign(snapshot.tokens.begin(), snapshot.tokens.begin() + count);
  row.length = snapshot.length;
  if (snapshot.logits.empty()) return row;
  const auto block = std::make_shared<LogitsBlock>();
  block->data = std::make_shared_for_overwrite<float[]>(snapshot.logits.size());
  block->rows = 1;
  std::ranges::copy(snapshot.logits, block->data.get());
  row.logits = block->data.get();
  row.logits_at = static_cast<int64_t>(snapshot.tokens.size());
  row.block = block;
  return row;
}

}  // namespace

// Gives `row`, for whose state there is room, the state of a snapshot that fits, and makes it
// `fresh`, which was made of the snapshot. Takes no memory, so that nothing is left half-done.
void Session::take_up(Row& row, const Snapshot& snapshot, Row fresh) {
  memory_->clear(row.slot);
  for (size_t t = 0; t < snapshot.state.size(); ++t) {
    memory_->unpack(t, row.slot, snapshot.length, snapshot.state[t].data.get());
  }
  fresh.slot = row.slot;
  fresh.epoch = row.epoch + 1;
  row = std::move(fresh);
}

void Session::restore(int64_t row, const Snapshot& snapshot) {
  this->row(row);
  check_fits(snapshot);
  const int64_t count = static_cast<int64_t>(snapshot.tokens.size());
  if (count > context_) {
    throw CapacityError("the snapshot has " + std::to_string(count) +
                        " tokens, which exceed the context of " + std::to_string(context_) +
                        "; open the session with a larger context");
  }
  Row fresh = row_of(snapshot, count);
  reserve(snapshot.length);
  take_up(open_row(row), snapshot, std::move(fresh));
  verify();
}

int64_t Session::fork(int64_t row) {
  Row copy = this->row(row);
  const int64_t made = open();  // may move the rows: look only afterwards
  Row& fresh = books_.rows[made];
  memory_->duplicate(books_.rows[row].slot, fresh.slot, copy.length);
  copy.slot = fresh.slot;
  copy.epoch = fresh.epoch;
  fresh = std::move(copy);
  verify();
  return made;
}

void Session::rewind(int64_t row, int64_t count, std::span<const Snapshot* const> snapshots,
                     const Between& between) {
  const std::vector<int64_t> wanted = tokens_until(row, count);
  for (const Snapshot* some : snapshots) check_fits(*some);
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
                     std::to_string(count) + " tokens: no snapshot was taken of these or fewer " +
                     "of them; clear the row and give it its tokens again");
  }
  replay(row, *from, std::span(wanted).subspan(from->length), between);
}

// Makes `row` what `from` and the tokens `rest` after it are.
void Session::replay(int64_t row, const Snapshot& from, std::span<const int64_t> rest,
                     const Between& between) {
  const size_t rows_before = books_.rows.size();
  const int64_t made = open();  // so that a step that fails leaves the row as it was
  const auto end = [&] {  // as if it had never been there
    close(made);
    books_.rows.resize(rows_before);
  };
  try {
    Row fresh = row_of(from, from.length);
    reserve(from.length);
    take_up(open_row(made), from, std::move(fresh));
    const RowTokens given{made, {rest.begin(), rest.end()}};
    prefill(std::span(&given, 1), 0, Which::last, between);
  } catch (...) {
    end();
    throw;
  }
  Row &old = books_.rows[row], &fresh = books_.rows[made];
  std::swap(old, fresh);
  std::swap(books_.row_of_slot[old.slot], books_.row_of_slot[fresh.slot]);
  std::swap(old.epoch, fresh.epoch);  // which belong to the numbers
  ++old.epoch;
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

// What an empty row, given `tokens`, may begin with: the longest kept beginning of these.
std::optional<Session::Start> Session::start_of(std::span<const int64_t> tokens) const {
  if (prefixes_ == nullptr || tokens.empty()) return {};
  const auto found = prefixes_->start_of(engine_->manifest().identity, tokens);
  if (found == nullptr) return {};
  return Start{found, row_of(*found, found->length)};
}

// Sets a row aside whose prompt was read to its end, if somebody wants it.
void Session::keep_prefix(int64_t row) {
  Row& read = books_.rows[row];
  const int64_t fresh = std::exchange(read.prompt, 0);
  if (prefixes_ == nullptr || fresh < prefixes_->least()) return;
  if (prefixes_->renew(engine_->manifest().identity, read.tokens)) return;
  size_t bytes = read.tokens.size() * sizeof(int64_t) +
                 static_cast<size_t>(engine_->manifest().vocab_size) * sizeof(float);
  for (size_t t = 0; t < memory_->layout().size(); ++t) bytes += memory_->packed_bytes(t, read.length);
  if (!prefixes_->make_room(bytes)) return;
  try {
    prefixes_->keep(std::make_shared<const Snapshot>(snapshot(row)));
  } catch (const std::bad_alloc&) {
    // The step was right and its tokens count: without this copy some other prompt takes longer.
    prefixes_->clear();
  }
}

}  // namespace deltaport
