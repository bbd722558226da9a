// Sequences set aside, and prompts that begin alike, in the C layer.

#include "c_api/handles.h"
#include "snapshot_file.h"

using namespace deltaport;
using namespace deltaport::c_api;

extern "C" {

deltaport_status deltaport_session_snapshot(const deltaport_session* session, int64_t row,
                                            deltaport_snapshot** snapshot) {
  return guarded([&] {
    const Session& opened = session_of(session);
    deltaport_snapshot*& made = need(snapshot, "snapshot");
    made = new deltaport_snapshot{opened.snapshot(row)};
  });
}

deltaport_status deltaport_session_restore(deltaport_session* session, int64_t row,
                                           const deltaport_snapshot* snapshot) {
  return guarded([&] { session_of(session).restore(row, need(snapshot, "snapshot").snapshot); });
}

deltaport_status deltaport_session_rewind(deltaport_session* session, int64_t row, int64_t count,
                                          const deltaport_snapshot* const* snapshots,
                                          size_t snapshot_count) {
  return guarded([&] {
    Session& opened = session_of(session);
    std::vector<const Snapshot*> given;
    for (const deltaport_snapshot* const snapshot : items(snapshots, snapshot_count, "snapshots")) {
      given.push_back(&need(snapshot, "a snapshot").snapshot);
    }
    opened.rewind(row, count, given);
  });
}

deltaport_status deltaport_snapshot_save(const deltaport_snapshot* snapshot, const char* path) {
  return guarded([&] { save_snapshot(need(snapshot, "snapshot").snapshot, &need(path, "path")); });
}

deltaport_status deltaport_snapshot_load(const deltaport_engine* engine, const char* path,
                                         deltaport_snapshot** snapshot) {
  return guarded([&] {
    const Manifest& manifest = need(engine, "engine").engine->manifest();
    deltaport_snapshot*& made = need(snapshot, "snapshot");
    made = new deltaport_snapshot{load_snapshot(&need(path, "path"), manifest)};
  });
}

deltaport_status deltaport_snapshot_free(deltaport_snapshot* snapshot) {
  return guarded([&] { delete &need(snapshot, "snapshot"); });
}

deltaport_status deltaport_prefix_cache_new(size_t budget, int64_t min_tokens,
                                            deltaport_prefix_cache** cache) {
  return guarded([&] {
    deltaport_prefix_cache*& made = need(cache, "cache");
    if (min_tokens < 0) {
      throw InputError("min_tokens is " + std::to_string(min_tokens) +
                       ", expected an integer, at least 0");
    }
    const int64_t least = min_tokens == 0 ? kLeastPrefix : min_tokens;
    made = new deltaport_prefix_cache{std::make_shared<PrefixCache>(budget, least)};
  });
}

deltaport_status deltaport_prefix_cache_free(deltaport_prefix_cache* cache) {
  return guarded([&] { delete &need(cache, "cache"); });
}

deltaport_status deltaport_prefix_cache_clear(deltaport_prefix_cache* cache) {
  return guarded([&] { need(cache, "cache").cache->clear(); });
}

deltaport_status deltaport_prefix_cache_usage(const deltaport_prefix_cache* cache,
                                              size_t* bytes, int64_t* prompts, int64_t* hits,
                                              int64_t* misses) {
  return guarded([&] {
    const PrefixCache::Usage found = need(cache, "cache").cache->usage();
    if (bytes != nullptr) *bytes = found.bytes;
    if (prompts != nullptr) *prompts = found.entries;
    if (hits != nullptr) *hits = found.hits;
    if (misses != nullptr) *misses = found.misses;
  });
}

deltaport_status deltaport_session_use_prefixes(deltaport_session* session,
                                                deltaport_prefix_cache* cache) {
  return guarded([&] { session_of(session).use_prefixes(cache ? cache->cache : nullptr); });
}

}  // extern "C"
