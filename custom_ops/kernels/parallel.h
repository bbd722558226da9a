// How a kernel spreads its work: over whatever pool the caller has.
#pragma once

#include <cstddef>

namespace deltaport {

// Runs task(data, i) for every i < n, in any order and on any thread, and returns when all are
// done. What a task computes may depend on i alone, so results do not depend on the threads.
struct Parallel {
  using Task = void (*)(void* data, size_t i);
  void (*run)(void* pool, size_t n, Task task, void* data) = nullptr;
  void* pool = nullptr;

  template <class Body>
  void operator()(size_t n, Body body) const {
    if (n <= 1 || run == nullptr) {
      for (size_t i = 0; i < n; ++i) body(i);
      return;
    }
    run(pool, n, [](void* data, size_t i) { (*static_cast<Body*>(data))(i); }, &body);
  }
};

}  // namespace deltaport
