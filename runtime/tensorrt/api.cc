// The table of functions that the runtime finds in libdeltaport_tensorrt.so.
#include "context.h"
#include "device_abi.h"
#include "plan.h"
#include "queue.h"

extern "C" __attribute__((visibility("default"))) const deltaport::device::Api*
deltaport_device_api(uint32_t abi_version) {
  using namespace deltaport::device;
  static constexpr Api kApi = {
      kAbiVersion,     open_plan,  close_plan, tensor_count, tensor,       profile_count,
      largest,         open_queue, close_queue, finish,      allocate,     release,
      allocate_pinned, release_pinned, copy,   zero,         open_context, close_context,
      set_input,       set_output, enqueue,    record,       launch,       release_graph,
  };
  return abi_version == kAbiVersion ? &kApi : nullptr;
}
