#include "session.h"

#include <algorithm>
#include <cassert>
#include <map>

#include "errors.h"
#include "sampling_params.h"

namespace deltaport {

namespace {

constexpr int64_t kPageColumns = 1024;  // columns whose bytes are whole pages whatever a column is

// `context` is at most the engine's longest.
int64_t initial_capacity(const Engine& engine, int64_t context, const StepLimits& limits) {
  const StepTraits traits = engine.decoder().traits();
  if (traits.capacity) return *traits.capacity;
  if (!traits.reserves_caches) return std::min(limits.initial_capacity, context);
  // Virtual memory costs nothing until it is used: all there will ever be, and a step's padding.
  const int64_t columns = context + limits.largest;
  return (columns + kPageColumns - 1) / kPageColumns * kPageColumns;
}

// Makes room for `size` items: what comes after takes no memory. Doubles, so that n of them cost O(n).
template <class Item>
void grow(std::vector<Item>& items, size_t size) {
  if (size > items.capacity()) items.reserve(std::max(size, 2 * items.capacity()));
}

}  // namespace

Session::Session(std::shared_ptr<const Engine> engine, int64_t sequences, int64_t context,
                 StepLimits limits, std::shared_ptr<StepObserver> observer)
    : engine_(std::move(engine)),
      context_(context),
      limits_(limits),
      observer_(std::move(observer)) {
  SessionParts parts = engine_->decoder().start(*engine_, std::max<int64_t>(sequences, 1),
                                                initial_capacity(*engine_, context, limits));
  memory_ = std::move(parts.memory);
  run_ = std::move(parts.run);
  books_.row_of_slot.assign(memory_->slots(), kNobody);
  for (int64_t i = 0; i < sequences; ++i) open();
}

int64_t Session::take_slot(int64_t row) {  // needs no memory once it changes anything
  auto free = std::ranges::find(books_.row_of_slot, kNobody);
  if (free == books_.row_of_slot.end()) {
    const int64_t slots = memory_->slots();
    // Doubled where memory is not taken before it is used.
    const bool takes_all = engine_->decoder().traits().compiled();
    const int64_t more = slots + (takes_all ? std::max<int64_t>(slots / 4, 1) : slots);
    grow(books_.row_of_slot, static_cast<size_t>(more));
    memory_->reserve(more, memory_->capacity(), used());
    run_->forget();
    books_.row_of_slot.resize(more, kNobody);
    free = books_.row_of_slot.begin() + slots;
  }
  *free = row;
  return free - books_.row_of_slot.begin();
}

int64_t Session::open() {
  grow(books_.rows, books_.rows.size() + 1);
  const auto closed = std::ranges::find_if(books_.rows, [](const Row& r) { return !r.is_open(); });
  const int64_t row = closed - books_.rows.begin();
  const int64_t slot = take_slot(row);
  if (closed == books_.rows.end()) books_.rows.emplace_back();
  Row& fresh = books_.rows[row];
  const uint64_t epoch = fresh.epoch + 1;
  fresh = Row();
  fresh.slot = slot;
  fresh.epoch = epoch;
  verify();
  return row;
}

void Session::close(int64_t row) {
  Row& closing = open_row(row);
  memory_->clear(closing.slot);
  books_.row_of_slot[closing.slot] = kNobody;
  const uint64_t epoch = closing.epoch + 1;
  closing = Row();
  closing.epoch = epoch;
  verify();
}

bool Session::is_open(int64_t row) const {
  return row >= 0 && row < rows() && books_.rows[row].is_open();
}

const Row& Session::row(int64_t row) const {
  if (!is_open(row)) {
    throw InputError("row is " + std::to_string(row) + ", which is not open; open it first");
  }
  return books_.rows[row];
}

Row& Session::open_row(int64_t row) { return const_cast<Row&>(this->row(row)); }

int64_t Session::open_count() const {
  return std::ranges::count_if(books_.rows, [](const Row& row) { return row.is_open(); });
}

void Session::append(std::span<const RowTokens> given, std::span<const RowCount> follow,
                     int64_t chunk, bool reuse) {
  std::vector<int64_t> fresh(rows(), 0), more(rows(), 0);
  for (const auto& [row, tokens] : given) {
    this->row(row);
    check_token_ids("row " + std::to_string(row), tokens, engine_->manifest().vocab_size);
    fresh[row] += static_cast<int64_t>(tokens.size());
  }
  for (const auto& [row, count] : follow) {
    this->row(row);
    more[row] = count;
  }
  int64_t longest = 1, widest = 1;
  for (int64_t i = 0; i < rows(); ++i) {
    const Row& row = books_.rows[i];
    const int64_t total = static_cast<int64_t>(row.tokens.size()) + fresh[i];
    if (total == 0) more[i] = 0;
    // Compared so that nothing overflows, however many are asked for.
    if ((fresh[i] || more[i]) && (total > context_ || more[i] > context_ - total)) {
      throw CapacityError("row " + std::to_string(i) + ": " + std::to_string(total) +
                          " tokens and " + std::to_string(more[i]) +
                          " to follow exceed the context of " + std::to_string(context_) +
                          "; shorten the input or open the session with a larger context");
    }
    longest = std::max(longest, total + more[i]);
    widest = std::max(widest, total - row.length);
  }
  // A ragged step writes the caches over all its columns, padding included, from each row's length
  // on: beside other rows, the longest may need room for padding as wide as a step.
  const int64_t step = chunk > 0 ? chunk : limits_.largest;
  const bool pads = engine_->manifest().ragged && open_count() > 1;
  reserve(longest + (pads ? std::min(widest, step) : 0));
  // All memory that this takes, before anything changes.
  std::map<int64_t, Start> starts;
  for (const auto& [i, tokens] : given) {
    Row& row = books_.rows[i];
    grow(row.tokens, row.tokens.size() + static_cast<size_t>(fresh[i]));
    if (!reuse || !row.tokens.empty() || starts.contains(i)) continue;
    if (auto start = start_of(tokens)) starts.emplace(i, std::move(*start));
  }
  for (auto& [i, start] : starts) grow(start.row.tokens, static_cast<size_t>(fresh[i]));
  for (const auto& [i, tokens] : given) {
    Row& row = books_.rows[i];
    int64_t known = 0;
    if (const auto start = starts.find(i); start != starts.end() && row.tokens.empty()) {
      const uint64_t epoch = row.epoch;
      take_up(row, *start->second.from, std::move(start->second.row));
      row.epoch = epoch;  // it has only grown
      known = row.length;
    }
    row.tokens.insert(row.tokens.end(), tokens.begin() + known, tokens.end());
    row.prompt += static_cast<int64_t>(tokens.size()) - known;
  }
  verify();
}

std::vector<int64_t> Session::waiting(std::span<const int64_t> rows) const {
  std::vector<int64_t> found;
  for (const int64_t i : rows) {
    if (row(i).is_waiting()) found.push_back(i);
  }
  return found;
}

void Session::extend(int64_t row, int64_t token) {
  open_row(row).tokens.push_back(token);
  verify();
}

void Session::retract(int64_t row, int64_t count) {
  Row& shorter = open_row(row);
  const int64_t kept = std::max(count, shorter.length);
  if (kept < static_cast<int64_t>(shorter.tokens.size())) {
    shorter.tokens.resize(kept);
    shorter.prompt = 0;
  }
  verify();
}

void Session::clear(int64_t row) {
  Row& cleared = open_row(row);
  memory_->clear(cleared.slot);
  const int64_t slot = cleared.slot;
  const uint64_t epoch = cleared.epoch + 1;
  cleared = Row();
  cleared.slot = slot;
  cleared.epoch = epoch;
  verify();
}

size_t Session::row_bytes(int64_t row) const {
  return memory_->slot_bytes(this->row(row).length);
}

std::string Session::broken() const {
  return broken_invariant(books_, memory_->capacity(), context_, engine_->manifest().vocab_size);
}

void Session::verify() const { assert(broken().empty()); }

}  // namespace deltaport
