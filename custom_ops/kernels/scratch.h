// Working memory of a thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace deltaport {

// Memory for one task, aligned to a cache line, contents undefined; the thread keeps it for its
// next task. One task holds at most one. Throws std::bad_alloc.
float* thread_scratch(size_t floats);

// Working memory that the tasks of a kernel share, aligned to a cache line, contents undefined.
// Throws std::bad_alloc.
class SharedBuffer {
 public:
  explicit SharedBuffer(size_t floats);
  ~SharedBuffer();
  SharedBuffer(const SharedBuffer&) = delete;
  SharedBuffer& operator=(const SharedBuffer&) = delete;

  float* floats() const { return data_; }
  int32_t* ints() const { return reinterpret_cast<int32_t*>(data_); }

 private:
  float* data_;
};

}  // namespace deltaport
