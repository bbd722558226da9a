// Working memory of a thread.
#pragma once

#include <cstddef>

namespace deltaport {

// Memory for one task, aligned to a cache line, contents undefined; the thread keeps it for its
// next task. One task holds at most one. Throws std::bad_alloc.
float* thread_scratch(size_t floats);

}  // namespace deltaport
