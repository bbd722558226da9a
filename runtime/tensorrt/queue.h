// Streams, and memory that is used in their order.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "device_abi.h"
#include "plan.h"

namespace deltaport::device {

struct Queue {
  Plan* plan;
  cudaStream_t stream = nullptr;
  // What a run needs beside its tensors; runs take turns.
  void* scratch = nullptr;
  int64_t scratch_bytes = 0;
};

Queue* open_queue(Plan* plan, Problem* problem);
void close_queue(Queue* queue);
bool finish(Queue* queue, Problem* problem);
void* allocate(size_t bytes);
void release(void* memory);
void* allocate_pinned(size_t bytes);
void release_pinned(void* memory);
bool copy(Queue* queue, const Copy* copy, Problem* problem);
bool zero(Queue* queue, void* at, size_t bytes, Problem* problem);

}  // namespace deltaport::device
