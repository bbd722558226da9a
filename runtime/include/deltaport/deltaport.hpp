// The C layer for C++20: handles that close themselves, and errors as exceptions. What functions
// do, and who may call them when, is said in deltaport.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "deltaport/deltaport.h"

namespace deltaport {
// Names of their own for the linker, whatever else is called deltaport.
inline namespace api {

class Error : public std::runtime_error {
 public:
  Error(deltaport_status status, const std::string& message)
      : std::runtime_error(message), status_(status) {}
  deltaport_status status() const { return status_; }

 private:
  deltaport_status status_;
};

class InputError : public Error {
  using Error::Error;
};
class CapacityError : public InputError {
  using InputError::InputError;
};
class EngineError : public Error {
  using Error::Error;
};
class OutputError : public Error {
  using Error::Error;
};
class CancelledError : public Error {
  using Error::Error;
};

// Throws what a status stands for.
inline void check(deltaport_status status) {
  if (status == DELTAPORT_OK) return;
  const std::string message = deltaport_last_error();
  switch (status) {
    case DELTAPORT_INPUT: throw InputError(status, message);
    case DELTAPORT_CAPACITY: throw CapacityError(status, message);
    case DELTAPORT_ENGINE: throw EngineError(status, message);
    case DELTAPORT_OUTPUT: throw OutputError(status, message);
    case DELTAPORT_CANCELLED: throw CancelledError(status, message);
    default: throw Error(status, message);
  }
}

// A handle that is ended with `End`.
template <class Handle, deltaport_status (*End)(Handle*)>
class Owned {
 public:
  Handle* get() const { return handle_.get(); }

 protected:
  explicit Owned(Handle* handle) : handle_(handle) {}

 private:
  struct Ender {
    void operator()(Handle* handle) const { End(handle); }
  };
  std::unique_ptr<Handle, Ender> handle_;
};

// Calls `make` with a place for what it makes.
template <class Made, class Make, class... Given>
Made made_by(Make make, Given... given) {
  Made made{};
  check(make(given..., &made));
  return made;
}

inline deltaport_engine_options engine_options() {
  deltaport_engine_options options;
  check(deltaport_engine_options_init(&options, sizeof options));
  return options;
}

inline deltaport_sampling_params sampling_params() {
  deltaport_sampling_params params;
  check(deltaport_sampling_params_init(&params, sizeof params));
  return params;
}

class Engine : public Owned<deltaport_engine, deltaport_engine_close> {
 public:
  explicit Engine(const std::string& folder,
                  const deltaport_engine_options& options = engine_options())
      : Owned(made_by<deltaport_engine*>(deltaport_engine_open, folder.c_str(), &options)) {}

  int64_t vocab_size() const { return made_by<int64_t>(deltaport_engine_vocab_size, get()); }
  int64_t max_positions() const { return made_by<int64_t>(deltaport_engine_max_positions, get()); }
  std::vector<int64_t> eos_token_ids() const {
    size_t count = 0;
    check(deltaport_engine_eos_token_ids(get(), nullptr, 0, &count));
    std::vector<int64_t> ids(count);
    check(deltaport_engine_eos_token_ids(get(), ids.data(), count, &count));
    return ids;
  }
};

class Snapshot : public Owned<deltaport_snapshot, deltaport_snapshot_free> {
 public:
  explicit Snapshot(deltaport_snapshot* taken) : Owned(taken) {}
  Snapshot(const Engine& engine, const std::string& path)
      : Owned(made_by<deltaport_snapshot*>(deltaport_snapshot_load, engine.get(), path.c_str())) {}

  void save(const std::string& path) const { check(deltaport_snapshot_save(get(), path.c_str())); }
};

struct PrefixUsage {
  size_t bytes;
  int64_t prompts, hits, misses;
};

class PrefixCache : public Owned<deltaport_prefix_cache, deltaport_prefix_cache_free> {
 public:
  // min_tokens 0: the default.
  explicit PrefixCache(size_t budget, int64_t min_tokens = 0)
      : Owned(made_by<deltaport_prefix_cache*>(deltaport_prefix_cache_new, budget, min_tokens)) {}

  void clear() { check(deltaport_prefix_cache_clear(get())); }
  PrefixUsage usage() const {
    PrefixUsage found;
    check(deltaport_prefix_cache_usage(get(), &found.bytes, &found.prompts, &found.hits,
                                       &found.misses));
    return found;
  }
};

class Session : public Owned<deltaport_session, deltaport_session_close> {
 public:
  explicit Session(const Engine& engine, int64_t sequences = 1, int64_t context = 0)
      : Owned(made_by<deltaport_session*>(deltaport_session_open, engine.get(), sequences,
                                          context)) {}

  void cancel() { check(deltaport_session_cancel(get())); }
  int64_t open_row() { return made_by<int64_t>(deltaport_session_open_row, get()); }
  void close_row(int64_t row) { check(deltaport_session_close_row(get(), row)); }
  int64_t fork(int64_t row) { return made_by<int64_t>(deltaport_session_fork, get(), row); }
  void clear(int64_t row) { check(deltaport_session_clear(get(), row)); }

  // Runs tokens of several rows; `logits` [given.size(),V] may be empty.
  void prefill(std::span<const deltaport_row_tokens> given, std::span<float> logits = {}) {
    check(deltaport_session_prefill(get(), given.data(), given.size(),
                                    logits.empty() ? nullptr : logits.data(), logits.size()));
  }
  void prefill(int64_t row, std::span<const int64_t> tokens, std::span<float> logits = {}) {
    const deltaport_row_tokens given{row, tokens.data(), tokens.size()};
    prefill({&given, 1}, logits);
  }
  std::vector<int64_t> tokens(int64_t row) const {
    size_t count = 0;
    check(deltaport_session_tokens(get(), row, nullptr, 0, &count));
    std::vector<int64_t> found(count);
    check(deltaport_session_tokens(get(), row, found.data(), count, &count));
    return found;
  }
  int64_t length(int64_t row) const {
    return made_by<int64_t>(deltaport_session_length, get(), row);
  }
  size_t row_bytes(int64_t row) const {
    return made_by<size_t>(deltaport_session_row_bytes, get(), row);
  }
  Snapshot snapshot(int64_t row) const {
    return Snapshot(made_by<deltaport_snapshot*>(deltaport_session_snapshot, get(), row));
  }
  void restore(int64_t row, const Snapshot& snapshot) {
    check(deltaport_session_restore(get(), row, snapshot.get()));
  }
  void rewind(int64_t row, int64_t count,
              std::span<const deltaport_snapshot* const> snapshots = {}) {
    check(deltaport_session_rewind(get(), row, count, snapshots.data(), snapshots.size()));
  }
  void rewind(int64_t row, int64_t count, std::span<const Snapshot> snapshots) {
    std::vector<const deltaport_snapshot*> given;
    for (const Snapshot& snapshot : snapshots) given.push_back(snapshot.get());
    rewind(row, count, given);
  }
  void use_prefixes(PrefixCache& cache) {
    check(deltaport_session_use_prefixes(get(), cache.get()));
  }
  void use_no_prefixes() { check(deltaport_session_use_prefixes(get(), nullptr)); }
};

class Generation : public Owned<deltaport_generation, deltaport_generation_free> {
 public:
  explicit Generation(Session& session, int64_t chunk = 0)
      : Owned(made_by<deltaport_generation*>(deltaport_generation_new, session.get(), chunk)) {}

  void start(std::span<const deltaport_request> requests) {
    check(deltaport_generation_start(get(), requests.data(), requests.size()));
  }
  void start(int64_t row, std::span<const int64_t> prompt,
             const deltaport_sampling_params& params = sampling_params()) {
    const deltaport_request request{row, prompt.data(), prompt.size(), &params};
    start({&request, 1});
  }
  void cancel(int64_t row) { check(deltaport_generation_cancel(get(), row)); }
  size_t live() const { return made_by<size_t>(deltaport_generation_live, get()); }

  // The new tokens; they are good until the next call.
  std::span<const deltaport_event> step() {
    std::vector<deltaport_event> made(live());
    size_t count = 0;
    check(deltaport_generation_step(get(), made.data(), made.size(), &count));
    events_.swap(made);
    return {events_.data(), count};
  }
  // Of event `index` of the last step: the most likely tokens and their log-probabilities.
  std::vector<std::pair<int64_t, double>> top_logprobs(size_t index) const {
    const size_t count = index < events_.size() ? events_[index].top_count : 0;
    std::vector<int64_t> tokens(count);
    std::vector<double> logprobs(count);
    check(deltaport_generation_top_logprobs(get(), index, tokens.data(), logprobs.data(), count));
    std::vector<std::pair<int64_t, double>> top;
    for (size_t i = 0; i < count; ++i) top.emplace_back(tokens[i], logprobs[i]);
    return top;
  }

 private:
  std::vector<deltaport_event> events_;
};

}  // namespace api
}  // namespace deltaport
