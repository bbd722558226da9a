// What libdeltaport_tensorrt.so gives the runtime: plans of TensorRT, and memory of the GPU they run
// on. A table of functions, so that the runtime is built without CUDA and TensorRT and loads them
// only for an engine that needs them.
//
// Functions that can fail take a Problem and return false or null then. None throws. Of a queue's
// functions one runs at a time; all else may be called from several threads at once.
#pragma once

#include <cstddef>
#include <cstdint>

namespace deltaport::device {

constexpr uint32_t kAbiVersion = 1;
constexpr const char* kEntry = "deltaport_device_api";
constexpr int kMostDimensions = 8;  // TensorRT's own limit

struct Plan;     // a plan that TensorRT has opened, on the current GPU
struct Queue;    // a stream: what is put into it is done in that order
struct Context;  // a profile of a plan with shapes and addresses of its inputs and outputs
struct Graph;    // a run of a context, recorded

// Why something failed, in one line, and whether for want of memory.
struct Problem {
  char text[512];
  bool memory;
};

struct Shape {
  int32_t rank;
  int64_t sizes[kMostDimensions];
};

// An input or output of a plan; a dimension of any size is -1.
struct Tensor {
  const char* name;  // the plan's
  int32_t type;      // ONNX's number, 0 for a type that it has not
  bool is_input;
  Shape shape;
};

// `height` rows of `width` bytes; a stride is from one row to the next.
struct Copy {
  void* to;
  size_t to_stride;
  const void* from;
  size_t from_stride;
  size_t width;
  size_t height;
};

struct Api {
  uint32_t abi_version;

  // Loads TensorRT from `library`, this library's plugins into it, and the plan in `file`.
  Plan* (*open_plan)(const char* library, const char* plugins, const char* file, Problem*);
  void (*close_plan)(Plan*);
  int32_t (*tensor_count)(const Plan*);
  Tensor (*tensor)(const Plan*, int32_t index);
  int32_t (*profile_count)(const Plan*);
  // The largest shape an input has in a profile.
  Shape (*largest)(const Plan*, const char* input, int32_t profile);

  Queue* (*open_queue)(Plan*, Problem*);
  void (*close_queue)(Queue*);  // once all is done
  // Waits until all that was put in is done.
  bool (*finish)(Queue*, Problem*);

  // Memory of the GPU, aligned to 256 bytes; and of the host, pinned. Null where there is none.
  void* (*allocate)(size_t bytes);
  void (*release)(void*);
  void* (*allocate_pinned)(size_t bytes);
  void (*release_pinned)(void*);
  // Between memory of the host or GPU, whichever it is. Host memory that is not pinned is read or
  // written before this returns.
  bool (*copy)(Queue*, const Copy*, Problem*);
  bool (*zero)(Queue*, void* at, size_t bytes, Problem*);

  // Contexts of a queue have their scratch memory in common.
  Context* (*open_context)(Queue*, int32_t profile, Problem*);
  void (*close_context)(Context*);
  bool (*set_input)(Context*, const char* name, const Shape*, const void* address, Problem*);
  bool (*set_output)(Context*, const char* name, void* address, Problem*);
  // Puts a run into the queue.
  bool (*enqueue)(Context*, Problem*);
  // Records a run instead, of a context that has run like this before and does not change any more.
  Graph* (*record)(Context*, Problem*);
  bool (*launch)(Graph*, Problem*);
  void (*release_graph)(Graph*);
};

// The entry's type; null for a version that the library does not have.
using GetApi = const Api* (*)(uint32_t abi_version);

}  // namespace deltaport::device
