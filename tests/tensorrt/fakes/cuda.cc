// A GPU made of host memory. What is put into a stream is done as late as CUDA allows: when somebody
// waits for it. So who looks too early, or gives memory away too soon, finds out. Memory is full of
// NaN at first.
//
// Settings: FAKE_CUDA_GPUS (how many there are), FAKE_CUDA_BYTES (memory of the GPU),
// FAKE_CUDA_NO_CAPTURE (streams cannot be captured).
#include "cuda.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

using Work = std::function<void()>;

struct CUgraph_st {
  std::vector<Work> work;
};
struct CUgraphExec_st {
  std::vector<Work> work;
};
struct CUstream_st {
  std::deque<Work> pending;
  bool failed = false;  // what was done since somebody waited for it
  std::unique_ptr<CUgraph_st> captured;  // while it is captured
};

namespace {

std::recursive_mutex mutex;
std::map<const char*, size_t> gpu, pinned;  // what is allocated
std::set<CUstream_st*> streams;
std::atomic<size_t> graphs = 0, launches = 0;

size_t setting(const char* name, size_t otherwise) {
  const char* const found = std::getenv(name);
  return found == nullptr ? otherwise : std::strtoull(found, nullptr, 10);
}

void run_all(CUstream_st* stream) {
  while (!stream->pending.empty()) {
    const Work work = std::move(stream->pending.front());
    stream->pending.pop_front();
    work();
  }
}

bool is_in(const std::map<const char*, size_t>& memory, const void* at, size_t bytes) {
  const auto after = memory.upper_bound(static_cast<const char*>(at));
  if (after == memory.begin()) return false;
  const auto& [begin, size] = *std::prev(after);
  return static_cast<const char*>(at) + bytes <= begin + size;
}

void need(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fake CUDA: %s\n", what);
  std::abort();
}

cudaError_t allocate(std::map<const char*, size_t>& memory, void** made, size_t bytes) {
  const std::lock_guard lock(mutex);
  *made = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (*made == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*made, 0xff, bytes);
  memory[static_cast<char*>(*made)] = bytes;
  return cudaSuccess;
}

cudaError_t release(std::map<const char*, size_t>& memory, void* given) {
  if (given == nullptr) return cudaSuccess;
  const std::lock_guard lock(mutex);
  for (CUstream_st* stream : streams) run_all(stream);  // as CUDA does
  need(memory.erase(static_cast<char*>(given)) == 1, "memory is freed that was not allocated");
  std::free(given);
  return cudaSuccess;
}

void copy_rows(char* to, size_t to_stride, const char* from, size_t from_stride, size_t width,
               size_t height) {
  for (size_t i = 0; i < height; ++i) std::memcpy(to + i * to_stride, from + i * from_stride, width);
}

}  // namespace

void enqueue(cudaStream_t stream, Work work) {
  const std::lock_guard lock(mutex);
  need(streams.contains(stream), "work is put into a stream that there is not");
  (stream->captured ? stream->captured->work.emplace_back(std::move(work))
                    : stream->pending.emplace_back(std::move(work)));
}

void fail(cudaStream_t stream) { stream->failed = true; }

bool is_capturing(cudaStream_t stream) { return stream->captured != nullptr; }

bool is_of_the_gpu(const void* memory, size_t bytes) {
  const std::lock_guard lock(mutex);
  return is_in(gpu, memory, bytes);
}

extern "C" {

// Bytes that are allocated, and streams and graphs: for tests.
size_t fake_cuda_allocated() {
  const std::lock_guard lock(mutex);
  size_t all = 0;
  for (const auto* memory : {&gpu, &pinned}) {
    for (const auto& [begin, size] : *memory) all += size;
  }
  return all + streams.size() + graphs;
}

// How many graphs were launched.
size_t fake_cuda_launches() { return launches; }

cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = static_cast<int>(setting("FAKE_CUDA_GPUS", 1));
  return *count == 0 ? cudaErrorNoDevice : cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  const std::lock_guard lock(mutex);
  size_t all = bytes;
  for (const auto& [begin, size] : gpu) all += size;
  if (all > setting("FAKE_CUDA_BYTES", SIZE_MAX)) return cudaErrorMemoryAllocation;
  return allocate(gpu, memory, bytes);
}
cudaError_t cudaFree(void* memory) { return release(gpu, memory); }
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  return allocate(pinned, memory, bytes);
}
cudaError_t cudaFreeHost(void* memory) { return release(pinned, memory); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const std::lock_guard lock(mutex);
  *stream = new CUstream_st;
  streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  run_all(stream);
  streams.erase(stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  need(!stream->captured, "somebody waits for a stream that is captured");
  run_all(stream);
  return std::exchange(stream->failed, false) ? cudaErrorLaunchFailure : cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_stride, const void* from, size_t from_stride,
                              size_t width, size_t height, cudaMemcpyKind, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  if (width > to_stride || width > from_stride) return cudaErrorInvalidValue;
  const size_t to_bytes = (height - 1) * to_stride + width;
  const size_t from_bytes = (height - 1) * from_stride + width;
  const bool to_known = is_in(gpu, to, to_bytes) || is_in(pinned, to, to_bytes);
  const bool from_known = is_in(gpu, from, from_bytes) || is_in(pinned, from, from_bytes);
  auto* const target = static_cast<char*>(to);
  const auto* const source = static_cast<const char*>(from);
  if (from_known) {
    enqueue(stream, [=] { copy_rows(target, to_stride, source, from_stride, width, height); });
  } else {  // memory that is not pinned is read at once
    auto staged = std::make_shared<std::vector<char>>(source, source + from_bytes);
    enqueue(stream, [=] {
      copy_rows(target, to_stride, staged->data(), from_stride, width, height);
    });
  }
  if (!to_known) run_all(stream);  // and written before this returns
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  need(is_of_the_gpu(memory, bytes), "memory is set that is not the GPU's");
  enqueue(stream, [=] { std::memset(memory, value, bytes); });
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  need(mode == cudaStreamCaptureModeThreadLocal, "what other threads do ends a capture");
  if (setting("FAKE_CUDA_NO_CAPTURE", 0) != 0) return cudaErrorStreamCaptureUnsupported;
  stream->captured = std::make_unique<CUgraph_st>();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = stream->captured.release();
  ++graphs;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  *made = new CUgraphExec_st{graph->work};
  ++graphs;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  --graphs;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t made) {
  delete made;
  --graphs;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t made, cudaStream_t stream) {
  for (const Work& work : made->work) enqueue(stream, work);
  ++launches;
  return cudaSuccess;
}

}  // extern "C"
