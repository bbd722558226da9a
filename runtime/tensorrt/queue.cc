#include "queue.h"

#include <memory>
#include <string>

#include "problem.h"

namespace deltaport::device {

Queue* open_queue(Plan* plan, Problem* problem) {
  auto queue = std::make_unique<Queue>(Queue{plan});
  // Not in order with the default stream, which belongs to whoever embeds us.
  if (!succeed(cudaStreamCreateWithFlags(&queue->stream, cudaStreamNonBlocking),
               "a stream cannot be made", problem)) {
    return nullptr;
  }
  queue->scratch_bytes = plan->engine->getDeviceMemorySizeV2();
  if (queue->scratch_bytes > 0) {
    queue->scratch = allocate(static_cast<size_t>(queue->scratch_bytes));
    if (queue->scratch == nullptr) {
      const std::string wanted = std::to_string(queue->scratch_bytes) + " bytes for a step";
      out_of_memory(problem, wanted.c_str());
      close_queue(queue.release());
      return nullptr;
    }
  }
  return queue.release();
}

void close_queue(Queue* queue) {
  cudaStreamSynchronize(queue->stream);
  release(queue->scratch);
  cudaStreamDestroy(queue->stream);
  delete queue;
}

bool finish(Queue* queue, Problem* problem) {
  return succeed(cudaStreamSynchronize(queue->stream), "a step failed", problem);
}

void* allocate(size_t bytes) {
  void* made = nullptr;
  if (cudaMalloc(&made, bytes) == cudaSuccess) return made;
  cudaGetLastError();
  return nullptr;
}

void release(void* memory) { cudaFree(memory); }

void* allocate_pinned(size_t bytes) {
  void* made = nullptr;
  if (cudaHostAlloc(&made, bytes, cudaHostAllocDefault) == cudaSuccess) return made;
  cudaGetLastError();
  return nullptr;
}

void release_pinned(void* memory) { cudaFreeHost(memory); }

bool copy(Queue* queue, const Copy* copy, Problem* problem) {
  const auto [to, to_stride, from, from_stride, width, height] = *copy;
  constexpr const char* kWhat = "a copy failed";
  if (height == 1) {  // a row may be longer than a stride may be
    return succeed(cudaMemcpyAsync(to, from, width, cudaMemcpyDefault, queue->stream), kWhat,
                   problem);
  }
  return succeed(cudaMemcpy2DAsync(to, to_stride, from, from_stride, width, height,
                                   cudaMemcpyDefault, queue->stream),
                 kWhat, problem);
}

bool zero(Queue* queue, void* at, size_t bytes, Problem* problem) {
  return succeed(cudaMemsetAsync(at, 0, bytes, queue->stream), "memory cannot be cleared", problem);
}

}  // namespace deltaport::device
