// libdeltaport_tensorrt.so, found at run time, and what is done with it, with errors thrown.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "device_abi.h"

namespace deltaport {

// Loads `library` once; it stays. Throws EngineError where it is missing or another version's.
const device::Api& device_api(const std::string& library);

// A stream of a plan's GPU, and its memory. What fails throws EngineError, or CapacityError for want
// of memory, which name the engine.
class DeviceQueue {
 public:
  DeviceQueue(const device::Api& api, device::Plan* plan, std::string name);
  ~DeviceQueue();
  DeviceQueue(const DeviceQueue&) = delete;
  DeviceQueue& operator=(const DeviceQueue&) = delete;

  const device::Api& api() const { return api_; }
  device::Queue* get() const { return queue_; }
  void finish();
  void copy(void* to, const void* from, size_t bytes) { copy({to, bytes, from, bytes, bytes, 1}); }
  void copy(const device::Copy& copy);
  void zero(void* at, size_t bytes);
  // Throws unless a call that was given `problem` went well.
  void check(bool well, const device::Problem& problem) const;

 private:
  const device::Api& api_;
  const std::string name_;
  device::Queue* queue_;
};

// Memory of the GPU; null where none is left, or for no bytes.
using DeviceMemory = std::unique_ptr<std::byte, void (*)(void*)>;
DeviceMemory device_memory(const device::Api& api, size_t bytes);
// Pinned memory of the host. Throws CapacityError.
std::shared_ptr<std::byte[]> pinned_memory(const device::Api& api, size_t bytes);

}  // namespace deltaport
