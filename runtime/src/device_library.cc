#include "device_library.h"

#include <dlfcn.h>

#include <string>
#include <utility>

#include "errors.h"

namespace deltaport {

const device::Api& device_api(const std::string& library) {
  // Loaded once however often this is called, and never unloaded: CUDA does not like to be.
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) {
    const char* const why = dlerror();
    throw EngineError(library + ": cannot be loaded: " + (why ? why : "unknown") +
                      "; build it for this machine, see docs/tensorrt.md");
  }
  const auto get = reinterpret_cast<device::GetApi>(dlsym(handle, device::kEntry));
  const device::Api* const api = get == nullptr ? nullptr : get(device::kAbiVersion);
  if (api == nullptr) {
    throw EngineError(library + ": not the libdeltaport_tensorrt.so of this deltaport; build it "
                      "from the same sources");
  }
  return *api;
}

DeviceQueue::DeviceQueue(const device::Api& api, device::Plan* plan, std::string name)
    : api_(api), name_(std::move(name)) {
  device::Problem problem{};
  queue_ = api_.open_queue(plan, &problem);
  check(queue_ != nullptr, problem);
}

DeviceQueue::~DeviceQueue() { api_.close_queue(queue_); }

void DeviceQueue::check(bool well, const device::Problem& problem) const {
  if (well) return;
  const std::string what = name_ + ": " + problem.text;
  if (problem.memory) throw CapacityError(what + "; use fewer sequences or shorter ones");
  throw EngineError(what);
}

void DeviceQueue::finish() {
  device::Problem problem{};
  check(api_.finish(queue_, &problem), problem);
}

void DeviceQueue::copy(const device::Copy& copy) {
  if (copy.width == 0 || copy.height == 0) return;
  device::Problem problem{};
  check(api_.copy(queue_, &copy, &problem), problem);
}

void DeviceQueue::zero(void* at, size_t bytes) {
  device::Problem problem{};
  check(api_.zero(queue_, at, bytes, &problem), problem);
}

DeviceMemory device_memory(const device::Api& api, size_t bytes) {
  void* const made = bytes == 0 ? nullptr : api.allocate(bytes);
  return {static_cast<std::byte*>(made), api.release};
}

std::shared_ptr<std::byte[]> pinned_memory(const device::Api& api, size_t bytes) {
  void* const made = api.allocate_pinned(bytes);
  if (made == nullptr) {
    throw CapacityError("no pinned memory for " + std::to_string(bytes) +
                        " bytes; use fewer sequences or smaller chunks");
  }
  return {static_cast<std::byte*>(made), api.release_pinned};
}

}  // namespace deltaport
