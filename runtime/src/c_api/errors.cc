// What went wrong, for callers without exceptions; and checks that several functions share.

#include <algorithm>
#include <exception>
#include <new>
#include <stdexcept>

#include "c_api/handles.h"

namespace {

thread_local std::string last_error;

deltaport_status fail(deltaport_status status, const char* message) noexcept {
  try {
    last_error = message;
  } catch (...) {  // no memory for the message: any that is there would be about something else
    last_error.clear();
  }
  return status;
}

}  // namespace

namespace deltaport::c_api {

deltaport_status report() noexcept {
  try {
    throw;
  } catch (const CapacityError& error) {
    return fail(DELTAPORT_CAPACITY, error.what());
  } catch (const InputError& error) {
    return fail(DELTAPORT_INPUT, error.what());
  } catch (const EngineError& error) {
    return fail(DELTAPORT_ENGINE, error.what());
  } catch (const OutputError& error) {
    return fail(DELTAPORT_OUTPUT, error.what());
  } catch (const StepCancelledError& error) {
    return fail(DELTAPORT_CANCELLED, error.what());
  } catch (const std::bad_alloc&) {
    return fail(DELTAPORT_CAPACITY, "no memory; use fewer or shorter sequences");
  } catch (const std::length_error&) {  // how vectors say that a size is beyond any memory
    return fail(DELTAPORT_CAPACITY, "no memory; use fewer or shorter sequences");
  } catch (const std::exception& error) {
    return fail(DELTAPORT_INTERNAL, error.what());
  } catch (...) {
    return fail(DELTAPORT_INTERNAL, "unknown error");
  }
}

void copy_ids(std::span<const int64_t> found, int64_t* ids, size_t capacity, size_t* count) {
  need(count, "count") = found.size();
  if (ids == nullptr) return;
  if (capacity < found.size()) {
    throw InputError("capacity is " + std::to_string(capacity) + ", expected at least " +
                     std::to_string(found.size()));
  }
  std::ranges::copy(found, ids);
}

void check_distinct(std::vector<int64_t> rows) {
  std::ranges::sort(rows);
  const auto twice = std::ranges::adjacent_find(rows);
  if (twice == rows.end()) return;
  throw InputError("row " + std::to_string(*twice) + " is given twice; name each row once");
}

}  // namespace deltaport::c_api

extern "C" {

int32_t deltaport_api_version(void) { return DELTAPORT_API_VERSION; }

const char* deltaport_last_error(void) { return last_error.c_str(); }

}  // extern "C"
