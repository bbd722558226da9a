// Snapshots of prompts that were read, so that later ones which begin alike start from there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>

#include "snapshot.h"

namespace deltaport {

// A prompt is kept if so many of its tokens at least were read, not found: copying a state costs as
// much as reading a few.
constexpr int64_t kLeastPrefix = 64;

// For any number of sessions, of any engines, from any threads: sequences are told apart by their
// engine's identity and by every one of their tokens.
class PrefixCache {
 public:
  struct Usage {
    size_t bytes = 0;
    int64_t entries = 0, hits = 0, misses = 0;
  };

  // Holds `budget` bytes of tokens, logits and state at most.
  explicit PrefixCache(size_t budget, int64_t least = kLeastPrefix)
      : budget_(budget), least_(least) {}
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  int64_t least() const { return least_; }

  // The longest kept sequence that `tokens` begin with, or are; null if there is none. What is found
  // is the last to be dropped.
  std::shared_ptr<const Snapshot> find(const std::string& identity,
                                       std::span<const int64_t> tokens);
  // The same for a prompt that is to start there: counted as a hit or a miss.
  std::shared_ptr<const Snapshot> start_of(const std::string& identity,
                                           std::span<const int64_t> tokens);
  // Whether exactly `tokens` are kept; they are the last to be dropped then.
  bool renew(const std::string& identity, std::span<const int64_t> tokens);
  // Drops what was not found for longest until `bytes` more fit; false if they never do.
  bool make_room(size_t bytes);
  // Keeps a snapshot with logits, in place of one of the same tokens; not one beyond the budget.
  void keep(std::shared_ptr<const Snapshot> snapshot);
  void clear();
  Usage usage() const;

 private:
  struct Entry {
    std::shared_ptr<const Snapshot> snapshot;
    uint64_t hash;
    size_t bytes;
  };
  using Entries = std::list<Entry>;

  Entries::iterator* at(uint64_t hash, const std::string& identity,
                        std::span<const int64_t> tokens);
  void drop(Entries::iterator entry);
  bool make_room_locked(size_t bytes);

  const size_t budget_;
  const int64_t least_;
  mutable std::mutex mutex_;
  Entries entries_;  // found last first
  std::unordered_multimap<uint64_t, Entries::iterator> by_hash_;
  std::map<int64_t, int64_t> of_length_;  // how many entries have so many tokens
  Usage usage_;
};

}  // namespace deltaport
