#include "kernels/scratch.h"

#include <cstdlib>
#include <new>

namespace deltaport {

namespace {

float* allocate(size_t floats) {
  const size_t whole_lines = (floats + 15) / 16 * 16;
  void* data = std::aligned_alloc(64, whole_lines * sizeof(float));
  if (data == nullptr && floats != 0) throw std::bad_alloc();
  return static_cast<float*>(data);
}

}  // namespace

float* thread_scratch(size_t floats) {
  struct Buffer {
    float* data = nullptr;
    size_t size = 0;
    ~Buffer() { std::free(data); }
  };
  static thread_local Buffer buffer;
  if (buffer.size < floats) {
    std::free(buffer.data);
    buffer.data = nullptr;
    buffer.size = 0;
    buffer.data = allocate(floats);
    buffer.size = floats;
  }
  return buffer.data;
}

SharedBuffer::SharedBuffer(size_t floats) : data_(allocate(floats)) {}
SharedBuffer::~SharedBuffer() { std::free(data_); }

}  // namespace deltaport
