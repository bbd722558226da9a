#include "prefix_cache.h"

#include <algorithm>
#include <functional>
#include <vector>

namespace deltaport {

namespace {

// Goes on with `hash` of what came before by one token (the finalizer of MurmurHash3).
uint64_t extended(uint64_t hash, int64_t token) {
  hash ^= static_cast<uint64_t>(token) + 0x9E3779B97F4A7C15 + (hash << 6) + (hash >> 2);
  hash = (hash ^ (hash >> 33)) * 0xFF51AFD7ED558CCD;
  hash = (hash ^ (hash >> 33)) * 0xC4CEB9FE1A85EC53;
  return hash ^ (hash >> 33);
}

uint64_t hash_of(const std::string& identity, std::span<const int64_t> tokens) {
  uint64_t hash = std::hash<std::string>()(identity);
  for (const int64_t token : tokens) hash = extended(hash, token);
  return hash;
}

}  // namespace

PrefixCache::Entries::iterator* PrefixCache::at(uint64_t hash, const std::string& identity,
                                                std::span<const int64_t> tokens) {
  const auto [begin, end] = by_hash_.equal_range(hash);
  for (auto found = begin; found != end; ++found) {
    const Snapshot& held = *found->second->snapshot;
    if (held.identity == identity && std::ranges::equal(held.tokens, tokens)) {
      return &found->second;
    }
  }
  return nullptr;
}

bool PrefixCache::renew(const std::string& identity, std::span<const int64_t> tokens) {
  const std::lock_guard lock(mutex_);
  Entries::iterator* const found = at(hash_of(identity, tokens), identity, tokens);
  if (found == nullptr) return false;
  entries_.splice(entries_.begin(), entries_, *found);
  return true;
}

std::shared_ptr<const Snapshot> PrefixCache::start_of(const std::string& identity,
                                                      std::span<const int64_t> tokens) {
  const auto found = find(identity, tokens);
  const std::lock_guard lock(mutex_);
  ++(found != nullptr ? usage_.hits : usage_.misses);
  return found;
}

std::shared_ptr<const Snapshot> PrefixCache::find(const std::string& identity,
                                                  std::span<const int64_t> tokens) {
  const std::lock_guard lock(mutex_);
  // Hashes of those beginnings whose length some entry has.
  std::vector<std::pair<int64_t, uint64_t>> beginnings;
  uint64_t hash = hash_of(identity, {});
  int64_t done = 0;
  for (const auto& [length, entries] : of_length_) {
    if (length > static_cast<int64_t>(tokens.size())) break;
    for (; done < length; ++done) hash = extended(hash, tokens[done]);
    beginnings.emplace_back(length, hash);
  }
  for (auto next = beginnings.rbegin(); next != beginnings.rend(); ++next) {
    Entries::iterator* const found = at(next->second, identity, tokens.first(next->first));
    if (found == nullptr) continue;
    entries_.splice(entries_.begin(), entries_, *found);
    return entries_.front().snapshot;
  }
  return nullptr;
}

void PrefixCache::drop(Entries::iterator entry) {
  const auto [begin, end] = by_hash_.equal_range(entry->hash);
  by_hash_.erase(std::find_if(begin, end, [&](const auto& item) { return item.second == entry; }));
  const auto counted = of_length_.find(static_cast<int64_t>(entry->snapshot->tokens.size()));
  if (--counted->second == 0) of_length_.erase(counted);
  usage_.bytes -= entry->bytes;
  --usage_.entries;
  entries_.erase(entry);
}

bool PrefixCache::make_room_locked(size_t bytes) {
  if (bytes > budget_) return false;
  while (usage_.bytes > budget_ - bytes) drop(std::prev(entries_.end()));
  return true;
}

bool PrefixCache::make_room(size_t bytes) {
  const std::lock_guard lock(mutex_);
  return make_room_locked(bytes);
}

void PrefixCache::keep(std::shared_ptr<const Snapshot> snapshot) {
  const std::lock_guard lock(mutex_);
  const Snapshot& kept = *snapshot;
  const uint64_t hash = hash_of(kept.identity, kept.tokens);
  if (Entries::iterator* const same = at(hash, kept.identity, kept.tokens)) drop(*same);
  const size_t bytes = kept.bytes();
  if (!make_room_locked(bytes)) return;
  const int64_t length = static_cast<int64_t>(kept.tokens.size());
  Entries made;  // until all memory that it takes was there
  made.push_front({std::move(snapshot), hash, bytes});
  const auto hashed = by_hash_.emplace(hash, made.begin());
  try {
    ++of_length_[length];
  } catch (...) {
    by_hash_.erase(hashed);
    throw;
  }
  entries_.splice(entries_.begin(), made);
  usage_.bytes += bytes;
  ++usage_.entries;
}

void PrefixCache::clear() {
  const std::lock_guard lock(mutex_);
  while (!entries_.empty()) drop(entries_.begin());
}

PrefixCache::Usage PrefixCache::usage() const {
  const std::lock_guard lock(mutex_);
  return usage_;
}

}  // namespace deltaport
