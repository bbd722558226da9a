// What stands behind the handles of the C layer, and how its functions report what went wrong.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "deltaport/deltaport.h"
#include "engine.h"
#include "errors.h"
#include "generation.h"
#include "session.h"
#include "snapshot.h"

struct deltaport_engine {
  std::shared_ptr<const deltaport::Engine> engine;
};

struct deltaport_session {
  std::shared_ptr<deltaport::Session> session;
};

struct deltaport_generation {
  std::shared_ptr<deltaport::Session> session;  // outlives the generation
  deltaport::Generation generation;
  std::vector<deltaport::GeneratedToken> events;  // of the last step that succeeded
};

struct deltaport_snapshot {
  deltaport::Snapshot snapshot;
};

struct deltaport_prefix_cache {
  std::shared_ptr<deltaport::PrefixCache> cache;
};

namespace deltaport::c_api {

// To be called while an exception is handled: notes its message for this thread.
deltaport_status report() noexcept;

// Runs `body`; what it throws becomes a status.
template <class Body>
deltaport_status guarded(Body&& body) noexcept {
  try {
    std::forward<Body>(body)();
    return DELTAPORT_OK;
  } catch (...) {
    return report();
  }
}

// Throws InputError for a null pointer; `name` is the argument's.
template <class Pointee>
Pointee& need(Pointee* pointer, const char* name) {
  if (pointer == nullptr) throw InputError(std::string(name) + " is null; pass one");
  return *pointer;
}

inline Session& session_of(deltaport_session* session) { return *need(session, "session").session; }
inline const Session& session_of(const deltaport_session* session) {
  return *need(session, "session").session;
}

// An array that a caller passes, which may be null where it is empty.
template <class Item>
std::span<const Item> items(const Item* data, size_t count, const char* name) {
  if (count > 0) need(data, name);
  return {data, count};
}

// A struct that begins with struct_size, from a caller that may know another version of it. So far
// there is one.
template <class Struct>
void check_size(size_t struct_size, const char* name) {
  if (struct_size == sizeof(Struct)) return;
  throw InputError(std::string(name) + " has struct_size " + std::to_string(struct_size) +
                   ", expected " + std::to_string(sizeof(Struct)) + "; fill it in with its init");
}

// Copies `found` where there is room; null asks for the number alone.
void copy_ids(std::span<const int64_t> found, int64_t* ids, size_t capacity, size_t* count);

// Throws InputError where a row is named twice: the core takes that as promised.
void check_distinct(std::vector<int64_t> rows);

}  // namespace deltaport::c_api
