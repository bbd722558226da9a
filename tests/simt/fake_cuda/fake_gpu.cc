// CUDA's driver library as tools/gpu_kernels/driver.py calls it, of a GPU that is not there. Its
// memory is the host's, which nobody but copies and kernels may touch.
#include "fake_gpu.h"

#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>

namespace {

enum Result { kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2 };
enum Attribute { kMajor = 75, kMinor = 76, kL2Bytes = 38 };

std::map<uint64_t, size_t> allocations;  // address, bytes
int devices = 1;
FakeGpuTurns turns = FakeGpuTurns::kForwards;

CUstream_st* const kStream = reinterpret_cast<CUstream_st*>(0x57);

void protect(int protection) {
  for (const auto& [address, bytes] : allocations) {
    mprotect(reinterpret_cast<void*>(address), bytes, protection);
  }
}
struct Touch {
  Touch() { protect(PROT_READ | PROT_WRITE); }
  ~Touch() { protect(PROT_NONE); }
};

Result copy(void* to, const void* from, size_t bytes) {
  const Touch touch;
  memcpy(to, from, bytes);
  return kSuccess;
}

}  // namespace

extern "C" {

bool fake_gpu_begins(cudaStream_t stream) {
  if (stream != kStream) return false;
  protect(PROT_READ | PROT_WRITE);
  return true;
}
void fake_gpu_ends() { protect(PROT_NONE); }
FakeGpuTurns fake_gpu_turns() { return turns; }

// For tests.
void fake_gpu_take(FakeGpuTurns how) { turns = how; }
void fake_gpu_count(int count) { devices = count; }

Result cuInit(unsigned) { return kSuccess; }
Result cuDriverGetVersion(int* version) { return *version = 13000, kSuccess; }
Result cuGetErrorString(Result error, const char** text) {
  *text = error == kOutOfMemory ? "out of memory" : "invalid argument";
  return kSuccess;
}
Result cuDeviceGetCount(int* count) { return *count = devices, kSuccess; }
Result cuDeviceGet(int* device, int number) {
  return number < devices ? (*device = number, kSuccess) : kInvalidValue;
}
Result cuDeviceGetName(char* name, int bytes, int) {
  return snprintf(name, static_cast<size_t>(bytes), "Fake GPU"), kSuccess;
}
Result cuDeviceGetAttribute(int* value, Attribute attribute, int) {
  switch (attribute) {
    case kMajor:
      return *value = 8, kSuccess;
    case kMinor:
      return *value = 9, kSuccess;
    case kL2Bytes:
      return *value = 1 << 10, kSuccess;
  }
  return kInvalidValue;
}
Result cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = size_t{1} << 30, kSuccess; }
Result cuDevicePrimaryCtxRetain(void** context, int) { return *context = &devices, kSuccess; }
Result cuCtxSetCurrent(void* context) { return context == &devices ? kSuccess : kInvalidValue; }

Result cuMemAlloc_v2(uint64_t* address, size_t bytes) {
  if (bytes == 0) return kInvalidValue;
  void* const memory = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return kOutOfMemory;
  *address = reinterpret_cast<uint64_t>(memory);
  allocations[*address] = bytes;
  return kSuccess;
}
Result cuMemFree_v2(uint64_t address) {
  const auto found = allocations.find(address);
  if (found == allocations.end()) return kInvalidValue;
  munmap(reinterpret_cast<void*>(address), found->second);
  allocations.erase(found);
  return kSuccess;
}
Result cuMemcpyHtoD_v2(uint64_t to, const void* from, size_t bytes) {
  return copy(reinterpret_cast<void*>(to), from, bytes);
}
Result cuMemcpyDtoH_v2(void* to, uint64_t from, size_t bytes) {
  return copy(to, reinterpret_cast<const void*>(from), bytes);
}
Result cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, cudaStream_t stream) {
  if (stream != kStream) return kInvalidValue;
  return copy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
}

Result cuStreamCreate(cudaStream_t* stream, unsigned) { return *stream = kStream, kSuccess; }
Result cuStreamSynchronize(cudaStream_t stream) {
  return stream == kStream ? kSuccess : kInvalidValue;
}

using Clock = std::chrono::steady_clock;
Result cuEventCreate(Clock::time_point** event, unsigned) {
  return *event = new Clock::time_point, kSuccess;
}
Result cuEventDestroy_v2(Clock::time_point* event) { return delete event, kSuccess; }
Result cuEventRecord(Clock::time_point* event, cudaStream_t stream) {
  if (stream != kStream) return kInvalidValue;
  return *event = Clock::now(), kSuccess;
}
Result cuEventSynchronize(Clock::time_point*) { return kSuccess; }
Result cuEventElapsedTime(float* milliseconds, Clock::time_point* from, Clock::time_point* to) {
  *milliseconds = std::chrono::duration<float, std::milli>(*to - *from).count();
  return kSuccess;
}

// Kernels run where they are launched, also while the stream is captured: a graph that is launched
// has nothing to do.
Result cuStreamBeginCapture_v2(cudaStream_t stream, int) {
  return stream == kStream ? kSuccess : kInvalidValue;
}
Result cuStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (stream != kStream) return kInvalidValue;
  return *graph = reinterpret_cast<cudaGraph_t>(kStream), kSuccess;
}
Result cuGraphInstantiateWithFlags(cudaGraphExec_t* made, cudaGraph_t, unsigned long long) {
  return *made = reinterpret_cast<cudaGraphExec_t>(kStream), kSuccess;
}
Result cuGraphDestroy(cudaGraph_t) { return kSuccess; }
Result cuGraphExecDestroy(cudaGraphExec_t) { return kSuccess; }
Result cuGraphLaunch(cudaGraphExec_t, cudaStream_t stream) {
  return stream == kStream ? kSuccess : kInvalidValue;
}
}
