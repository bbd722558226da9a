// Steps of a session: plan, run, commit.

#include <algorithm>

#include "errors.h"
#include "session.h"

namespace deltaport {

std::vector<int64_t> Session::used() const {
  std::vector<int64_t> columns(books_.row_of_slot.size(), 0);
  for (size_t slot = 0; slot < columns.size(); ++slot) {
    const int64_t row = books_.row_of_slot[slot];
    if (row != kNobody) columns[slot] = books_.rows[row].length;
  }
  return columns;
}

int64_t Session::capacity_for(int64_t columns) const {
  int64_t capacity = memory_->capacity();
  while (capacity < columns) {  // doubled, so that n tokens cost O(n) copying in all
    if (capacity > INT64_MAX / 2) return columns;
    capacity *= 2;
  }
  return capacity;
}

void Session::reserve(int64_t columns) {
  if (columns <= memory_->capacity()) return;
  memory_->reserve(memory_->slots(), capacity_for(columns), used());
  run_->forget();
}

int64_t Session::step_width(std::span<const int64_t> rows) const {
  const StepTraits traits = engine_->decoder().traits();
  if (traits.compiled()) return traits.most_tokens;
  int64_t most = limits_.most_tokens;
  if (traits.holds_scores) {
    int64_t longest = 0;
    for (const int64_t i : rows) longest = std::max(longest, row(i).length);
    most = std::min(most, limits_.score_cells / (longest + limits_.largest));
  }
  const int64_t each = most / std::max<int64_t>(rows.size(), 1);
  return std::max(limits_.smallest, std::min(limits_.largest, each));
}

std::vector<RowWork> Session::work_of(std::span<const int64_t> rows, int64_t chunk,
                                      Which which) const {
  std::vector<RowWork> work;
  for (const int64_t i : rows) {
    const Row& row = this->row(i);
    const int64_t left = static_cast<int64_t>(row.tokens.size()) - row.length;
    if (left == 0) continue;
    const int64_t count = std::min(left, chunk);
    const std::span tokens(row.tokens.data() + row.length, static_cast<size_t>(count));
    const int64_t last = count == left ? count - 1 : count;
    work.push_back({i, tokens, row.length, which == Which::all ? 0 : last});
  }
  return work;
}

void Session::exchange(int64_t a, int64_t b) {
  const int64_t row_a = books_.row_of_slot[a], row_b = books_.row_of_slot[b];
  const auto used = [&](int64_t row) { return row == kNobody ? 0 : books_.rows[row].length; };
  memory_->exchange(a, b, used(row_a), used(row_b));
  // A slot that is free from now on must not hold pages: of padding, or of the state before last.
  if (row_b == kNobody) memory_->clear(a);
  if (row_a == kNobody) memory_->clear(b);
  std::swap(books_.row_of_slot[a], books_.row_of_slot[b]);
  if (row_a != kNobody) books_.rows[row_a].slot = b;
  if (row_b != kNobody) books_.rows[row_b].slot = a;
}

// Moves the rows of `group` to neighbouring slots and notes where they lie, in order.
void Session::place(std::vector<RowWork>& group) {
  std::vector<int64_t> taken;
  for (const RowWork& work : group) taken.push_back(books_.rows[work.row].slot);
  const int64_t size = static_cast<int64_t>(group.size());
  const int64_t first = best_window(taken, memory_->slots());
  std::ranges::sort(taken);
  int64_t hole = first;  // the next slot of the window that may hold a row of another group
  for (const int64_t slot : taken) {
    if (slot >= first && slot < first + size) continue;
    while (std::ranges::binary_search(taken, hole)) ++hole;
    exchange(hole++, slot);
  }
  for (RowWork& work : group) work.slot = books_.rows[work.row].slot;
  std::ranges::sort(group, {}, &RowWork::slot);
  std::vector<int64_t> used;
  for (const RowWork& work : group) used.push_back(work.past);
  memory_->unify(first, size, used);
}

std::shared_ptr<LogitsBlock> Session::free_block(int64_t rows) {
  for (const std::shared_ptr<LogitsBlock>& block : blocks_) {
    if (block.use_count() == 1 && block->rows >= rows) return block;
  }
  const auto made = std::make_shared<LogitsBlock>();
  const int64_t size = std::max<int64_t>(rows, 1) * engine_->manifest().vocab_size;
  made->data = run_->logits_memory(static_cast<size_t>(size));
  made->rows = rows;
  // Those of whole prompts are large and seldom: not kept.
  std::erase_if(blocks_, [](const auto& block) { return block.use_count() == 1; });
  if (rows <= this->rows()) blocks_.push_back(made);
  return made;
}

namespace {

// Columns of caches that a step writes: a ragged one pads all rows to the longest.
int64_t columns_of(std::span<const RowWork> work, bool ragged) {
  int64_t past = 0, widest = 0, end = 0;
  for (const RowWork& row : work) {
    const int64_t count = static_cast<int64_t>(row.tokens.size());
    past = std::max(past, row.past);
    widest = std::max(widest, count);
    end = std::max(end, row.past + count);
  }
  return ragged ? past + widest : end;
}

}  // namespace

std::vector<RowLogits> Session::step(std::span<const int64_t> rows, int64_t chunk, Which which) {
  if (run_->take_cancel()) throw StepCancelledError(engine_->name() + ": the step was cancelled");
  const StepTraits traits = engine_->decoder().traits();
  const int64_t width = std::min(chunk > 0 ? chunk : step_width(rows), traits.most_tokens);
  std::vector<RowWork> work = work_of(rows, width, which);
  if (work.empty()) return {};
  const bool ragged = engine_->manifest().ragged;
  reserve(columns_of(work, ragged));
  auto groups = group_rows(std::move(work), ragged);
  // Rows that run alone may stay where they are.
  if (traits.most_rows == 1) groups = cut_groups(std::move(groups), 1);
  // All are placed before any runs: what a run wrote must not move until it is committed. Only one
  // group has several rows, so placing it moves none of the others out of place.
  for (auto& group : groups) {
    if (group.size() > 1) place(group);
  }
  for (auto& group : groups) {
    if (group.size() == 1) group.front().slot = books_.rows[group.front().row].slot;
  }
  groups = cut_groups(std::move(groups), traits.most_rows);
  plans_.resize(std::max(plans_.size(), groups.size()));
  std::vector<RowLogits> results;
  for (size_t i = 0; i < groups.size(); ++i) {
    StepPlan& plan = plans_[i];
    plan.rows = std::move(groups[i]);
    plan.lay_out();
    const int64_t R = static_cast<int64_t>(plan.logit_index.size());
    const std::shared_ptr<LogitsBlock> block = free_block(R);
    try {
      run_->run(plan, block->data.get(), observer_.get());
    } catch (...) {
      for (size_t done = 0; done <= i; ++done) {
        for (const RowWork& row : plans_[done].rows) memory_->trim(row.slot, row.past);
      }
      throw;
    }
    const float* next = block->data.get();
    for (const RowWork& row : plan.rows) {
      const int64_t count = static_cast<int64_t>(row.tokens.size()) - row.first_logit;
      if (count > 0) results.push_back({row.row, count, next, block});
      next += count * engine_->manifest().vocab_size;
    }
  }
  for (size_t i = 0; i < groups.size(); ++i) {  // only now: a run that fails changes nothing
    memory_->commit(plans_[i].first_slot, plans_[i].size());
    for (const RowWork& work : plans_[i].rows) {
      const int64_t count = static_cast<int64_t>(work.tokens.size());
      books_.rows[work.row].length += count;
      // Padding may have written to pages beyond.
      if (count < plans_[i].width) memory_->trim(work.slot, work.past + count);
    }
  }
  for (const RowLogits& result : results) {
    Row& row = books_.rows[result.row];
    if (row.is_waiting()) continue;
    row.block = result.block;
    row.logits = result.logits + (result.count - 1) * engine_->manifest().vocab_size;
    row.logits_at = row.length;
    keep_prefix(result.row);
  }
  verify();
  return results;
}

}  // namespace deltaport
