// State and history of sequences that share an engine, ragged in every respect.
//
// A row takes any number of tokens at a time; a step runs chosen rows and leaves the others alone.
// What a row yields does not depend on the rows beside it. A step that fails or is cancelled leaves
// every row as it was before it. Not for use from several threads at once, but for `cancel`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "engine.h"
#include "prefix_cache.h"
#include "session_rows.h"
#include "snapshot.h"
#include "state_memory.h"
#include "step_run.h"

namespace deltaport {

enum class Which { last, all };

// Logits [count,V] of a row after a step; the block keeps them.
struct RowLogits {
  int64_t row;
  int64_t count;
  const float* logits;
  std::shared_ptr<const LogitsBlock> block;
};

// Is given logits as they come.
using TakeLogits = std::function<void(const RowLogits&)>;
// Is called after every step of long work; what it throws ends the work.
using Between = std::function<void()>;

// Tokens for a row, or how many are to follow.
using RowTokens = std::pair<int64_t, std::vector<int64_t>>;
using RowCount = std::pair<int64_t, int64_t>;

// How many tokens a step takes; a test or an unusual machine may want other numbers.
struct StepLimits {
  int64_t initial_capacity = 256;
  int64_t largest = 512;   // most tokens of a row: enough to keep a CPU busy
  int64_t smallest = 16;
  int64_t most_tokens = 8 * 512;  // of all rows, padding included: a step holds some activations each
  // Attention scores (rows x tokens x columns, per head) where attention holds them all: a few
  // float32 arrays of that size, so at long contexts steps shrink.
  int64_t score_cells = 1 << 21;
};

class Session {
 public:
  // `sequences` open rows, 0 to n - 1, of at most `context` tokens each. Throws CapacityError.
  Session(std::shared_ptr<const Engine> engine, int64_t sequences, int64_t context,
          StepLimits limits = {}, std::shared_ptr<StepObserver> observer = nullptr);

  const Engine& engine() const { return *engine_; }
  int64_t context() const { return context_; }
  int64_t capacity() const { return memory_->capacity(); }
  const StateMemory& memory() const { return *memory_; }

  // A new empty row: the lowest number that no open row has. Throws CapacityError.
  int64_t open();
  // Ends a row and gives its memory back.
  void close(int64_t row);
  bool is_open(int64_t row) const;
  // How many row numbers there are, closed ones included.
  int64_t rows() const { return static_cast<int64_t>(books_.rows.size()); }
  // Throws InputError for a row that is not open.
  const Row& row(int64_t row) const;

  // Makes room, and only then takes over the `given` tokens: all rows or none. `follow`: tokens to
  // come after that, which rows must have room for; a row without any token has none to follow.
  // `chunk`: the widest step to come, or 0. `reuse`: an empty row may begin with the state that the
  // prefix cache has for its first tokens, which are not waiting then. Throws InputError or
  // CapacityError.
  void append(std::span<const RowTokens> given, std::span<const RowCount> follow, int64_t chunk,
              bool reuse);
  // Those of `rows` with tokens their state has not seen.
  std::vector<int64_t> waiting(std::span<const int64_t> rows) const;
  // Runs the next tokens of waiting `rows`, at most `chunk` each (0: as it suits). Rows that still
  // have tokens to come get no logits unless all are wanted.
  std::vector<RowLogits> step(std::span<const int64_t> rows, int64_t chunk, Which which);
  // Appends tokens and runs their rows, each named once, to the end. Where a step fails or `between`
  // throws, what was run stays and the rest is taken back; before the first step is over, that is
  // everything.
  void prefill(std::span<const RowTokens> given, int64_t chunk, Which which,
               const Between& between = {}, const TakeLogits& take = {});
  // Goes on with `token`, chosen by the row's logits, which are used up.
  void extend(int64_t row, int64_t token);
  // Takes back waiting tokens, down to `count` in all.
  void retract(int64_t row, int64_t count);

  void clear(int64_t row);
  // A new row like `row`.
  int64_t fork(int64_t row);
  Snapshot snapshot(int64_t row) const;
  // Makes `row` what it was. Throws InputError or CapacityError and changes nothing then.
  void restore(int64_t row, const Snapshot& snapshot);
  // Makes `row` a sequence of its first `count` tokens, all run, from the longest of `snapshots` or
  // of the prefix cache that covers these: its state, and the other tokens run again. Nothing to do
  // where it has no more. Throws InputError where none covers them or one is another engine's, and
  // changes nothing where this or a step fails.
  void rewind(int64_t row, int64_t count, std::span<const Snapshot* const> snapshots,
              const Between& between = {});
  // Lets prompts of empty rows begin with what is kept there, and keeps prompts there; null: not.
  void use_prefixes(std::shared_ptr<PrefixCache> prefixes) { prefixes_ = std::move(prefixes); }

  // Ends the step in progress with StepCancelledError, or else the next one; from any thread.
  void cancel() { run_->cancel(); }
  // Takes a cancel back that came when no step was left to end. Whether there was one.
  bool take_cancel() { return run_->take_cancel(); }

  // Bytes of state that the row has in memory.
  size_t row_bytes(int64_t row) const;
  // Nanoseconds spent in the decoder so far.
  int64_t run_nanoseconds() const { return run_->nanoseconds(); }
  // What does not hold of the bookkeeping; empty if all is well.
  std::string broken() const;

 private:
  // Where a prompt may start, and the row that it then is.
  struct Start {
    std::shared_ptr<const Snapshot> from;
    Row row;
  };

  Row& open_row(int64_t row);
  int64_t take_slot(int64_t row);
  int64_t open_count() const;
  int64_t step_width(std::span<const int64_t> rows) const;
  std::vector<int64_t> used() const;
  void reserve(int64_t columns);
  int64_t capacity_for(int64_t columns) const;
  std::vector<RowWork> work_of(std::span<const int64_t> rows, int64_t chunk, Which which) const;
  void place(std::vector<RowWork>& group);
  void exchange(int64_t a, int64_t b);
  std::shared_ptr<LogitsBlock> free_block(int64_t rows);
  void verify() const;
  void check_fits(const Snapshot& snapshot) const;
  void take_up(Row& row, const Snapshot& snapshot, Row fresh);
  void replay(int64_t row, const Snapshot& from, std::span<const int64_t> rest,
              const Between& between);
  std::vector<int64_t> tokens_until(int64_t row, int64_t count) const;
  std::optional<Start> start_of(std::span<const int64_t> tokens) const;
  void keep_prefix(int64_t row);

  std::shared_ptr<const Engine> engine_;
  int64_t context_;
  StepLimits limits_;
  std::shared_ptr<StepObserver> observer_;
  std::shared_ptr<PrefixCache> prefixes_;
  Bookkeeping books_;
  std::unique_ptr<StateMemory> memory_;
  std::unique_ptr<StepRun> run_;  // over the memory
  std::vector<StepPlan> plans_;  // of the last step, for their memory
  std::vector<std::shared_ptr<LogitsBlock>> blocks_;
};

}  // namespace deltaport
