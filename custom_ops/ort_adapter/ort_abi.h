// What we call of ONNX Runtime's C interface, spelled out here because its wheel brings no headers.
//
// The interface is a table of functions to which each version only appends; an entry's index never
// changes. The indices are those of `struct OrtApi` in onnxruntime_c_api.h, where the semantics
// are documented, and CustomOp below is its `struct OrtCustomOp`.
#pragma once

#include <cstddef>
#include <cstdint>

namespace deltaport::ort {

// The interface version whose table has every entry used here; ONNX Runtime 1.N has version N.
constexpr uint32_t kApiVersion = 21;

struct Status;
struct Env;
struct Session;
struct RunOptions;
struct SessionOptions;
struct MemoryInfo;
struct Allocator;
struct TypeInfo;
struct CudaOptions;
struct CustomOpDomain;
struct KernelInfo;
struct KernelContext;
struct Value;
struct TensorInfo;
struct CustomOp;

enum ErrorCode : int { kFail = 1, kInvalidArgument = 2, kNotImplemented = 9 };
constexpr int kLogErrors = 3;      // least severe messages that are shown
constexpr int kArenaAllocator = 1;  // as memory is described; any for memory of the caller's
constexpr int kDefaultMemory = 0;

enum TensorType : int {
  kUndefined = 0,  // as an op's declaration: any
  kFloat32 = 1,
  kUint8 = 2,
  kInt64 = 7,
  kFloat16 = 10,
  kBFloat16 = 16,
};

struct ApiBase {
  const void* (*get_api)(uint32_t version);  // null for a version it does not have
  const char* (*version_string)();
};

// The table, typed entry by entry.
class Api {
 public:
  explicit Api(const void* table) : table_(static_cast<void* const*>(table)) {}

#define DELTAPORT_ORT_ENTRY(index, name, Result, ...)                             \
  template <class... Given>                                                      \
  Result name(Given... given) const {                                            \
    return reinterpret_cast<Result (*)(__VA_ARGS__)>(table_[index])(given...);   \
  }

  DELTAPORT_ORT_ENTRY(0, create_status, Status*, ErrorCode, const char*)
  DELTAPORT_ORT_ENTRY(1, error_code, ErrorCode, const Status*)
  DELTAPORT_ORT_ENTRY(2, error_message, const char*, const Status*)
  DELTAPORT_ORT_ENTRY(3, create_env, Status*, int, const char*, Env**)
  DELTAPORT_ORT_ENTRY(7, create_session, Status*, const Env*, const char*, const SessionOptions*, Session**)
  DELTAPORT_ORT_ENTRY(8, create_session_from_array, Status*, const Env*, const void*, size_t,
                      const SessionOptions*, Session**)
  DELTAPORT_ORT_ENTRY(9, run, Status*, Session*, const RunOptions*, const char* const*, const Value* const*,
                      size_t, const char* const*, size_t, Value**)
  DELTAPORT_ORT_ENTRY(10, create_session_options, Status*, SessionOptions**)
  DELTAPORT_ORT_ENTRY(22, set_log_severity, Status*, SessionOptions*, int)
  DELTAPORT_ORT_ENTRY(24, set_intra_op_threads, Status*, SessionOptions*, int)
  DELTAPORT_ORT_ENTRY(25, set_inter_op_threads, Status*, SessionOptions*, int)
  DELTAPORT_ORT_ENTRY(26, create_domain, Status*, const char*, CustomOpDomain**)
  DELTAPORT_ORT_ENTRY(27, add_op, Status*, CustomOpDomain*, const CustomOp*)
  DELTAPORT_ORT_ENTRY(28, add_domain, Status*, SessionOptions*, CustomOpDomain*)
  DELTAPORT_ORT_ENTRY(30, input_count, Status*, const Session*, size_t*)
  DELTAPORT_ORT_ENTRY(31, output_count, Status*, const Session*, size_t*)
  DELTAPORT_ORT_ENTRY(33, input_type, Status*, const Session*, size_t, TypeInfo**)
  DELTAPORT_ORT_ENTRY(34, output_type, Status*, const Session*, size_t, TypeInfo**)
  DELTAPORT_ORT_ENTRY(36, input_name, Status*, const Session*, size_t, Allocator*, char**)
  DELTAPORT_ORT_ENTRY(37, output_name, Status*, const Session*, size_t, Allocator*, char**)
  DELTAPORT_ORT_ENTRY(39, create_run_options, Status*, RunOptions**)
  DELTAPORT_ORT_ENTRY(46, set_terminate, Status*, RunOptions*)
  DELTAPORT_ORT_ENTRY(47, unset_terminate, Status*, RunOptions*)
  DELTAPORT_ORT_ENTRY(49, create_tensor, Status*, const MemoryInfo*, void*, size_t, const int64_t*, size_t,
                      TensorType, Value**)
  DELTAPORT_ORT_ENTRY(51, tensor_data, Status*, Value*, void**)
  DELTAPORT_ORT_ENTRY(55, as_tensor_info, Status*, const TypeInfo*, const TensorInfo**)
  DELTAPORT_ORT_ENTRY(60, element_type, Status*, const TensorInfo*, TensorType*)
  DELTAPORT_ORT_ENTRY(61, rank, Status*, const TensorInfo*, size_t*)
  DELTAPORT_ORT_ENTRY(62, dimensions, Status*, const TensorInfo*, int64_t*, size_t)
  DELTAPORT_ORT_ENTRY(65, tensor_info, Status*, const Value*, TensorInfo**)
  DELTAPORT_ORT_ENTRY(69, create_cpu_memory_info, Status*, int, int, MemoryInfo**)
  DELTAPORT_ORT_ENTRY(76, free, Status*, Allocator*, void*)
  DELTAPORT_ORT_ENTRY(78, default_allocator, Status*, Allocator**)
  DELTAPORT_ORT_ENTRY(85, float_attribute, Status*, const KernelInfo*, const char*, float*)
  DELTAPORT_ORT_ENTRY(86, int_attribute, Status*, const KernelInfo*, const char*, int64_t*)
  DELTAPORT_ORT_ENTRY(90, input, Status*, const KernelContext*, size_t, const Value**)
  DELTAPORT_ORT_ENTRY(91, output, Status*, KernelContext*, size_t, const int64_t*, size_t, Value**)
  DELTAPORT_ORT_ENTRY(93, release_status, void, Status*)
  DELTAPORT_ORT_ENTRY(95, release_session, void, Session*)
  DELTAPORT_ORT_ENTRY(96, release_value, void, Value*)
  DELTAPORT_ORT_ENTRY(97, release_run_options, void, RunOptions*)
  DELTAPORT_ORT_ENTRY(98, release_type_info, void, TypeInfo*)
  DELTAPORT_ORT_ENTRY(99, release_tensor_info, void, TensorInfo*)
  DELTAPORT_ORT_ENTRY(100, release_session_options, void, SessionOptions*)
  DELTAPORT_ORT_ENTRY(125, available_providers, Status*, char***, int*)
  DELTAPORT_ORT_ENTRY(126, release_available_providers, Status*, char**, int)
  DELTAPORT_ORT_ENTRY(130, add_config_entry, Status*, SessionOptions*, const char*, const char*)
  DELTAPORT_ORT_ENTRY(204, append_cuda, Status*, SessionOptions*, const CudaOptions*)
  DELTAPORT_ORT_ENTRY(205, create_cuda_options, Status*, CudaOptions**)
  DELTAPORT_ORT_ENTRY(208, release_cuda_options, void, CudaOptions*)
  DELTAPORT_ORT_ENTRY(274, parallel_for, Status*, const KernelContext*, void (*)(void*, size_t),
                      size_t, size_t, void*)
#undef DELTAPORT_ORT_ENTRY

 private:
  void* const* table_;
};

// An op as ONNX Runtime sees it. It reads only the members that version `version` had.
struct CustomOp {
  uint32_t version = kApiVersion;
  void* (*create_kernel)(const CustomOp*, const void* api, const KernelInfo*) = nullptr;
  const char* (*name)(const CustomOp*) = nullptr;
  const char* (*execution_provider)(const CustomOp*) = nullptr;
  TensorType (*input_type)(const CustomOp*, size_t) = nullptr;
  size_t (*input_count)(const CustomOp*) = nullptr;
  TensorType (*output_type)(const CustomOp*, size_t) = nullptr;
  size_t (*output_count)(const CustomOp*) = nullptr;
  void (*compute)(void* kernel, KernelContext*) = nullptr;
  void (*destroy)(void* kernel) = nullptr;
  int (*input_characteristic)(const CustomOp*, size_t) = nullptr;  // 0: required
  int (*output_characteristic)(const CustomOp*, size_t) = nullptr;
  int (*input_memory_type)(const CustomOp*, size_t) = nullptr;  // 0: the provider's
  int (*variadic_input_min_arity)(const CustomOp*) = nullptr;
  int (*variadic_input_homogeneity)(const CustomOp*) = nullptr;
  int (*variadic_output_min_arity)(const CustomOp*) = nullptr;
  int (*variadic_output_homogeneity)(const CustomOp*) = nullptr;
  Status* (*create_kernel_v2)(const CustomOp*, const void* api, const KernelInfo*,
                              void** kernel) = nullptr;
  Status* (*compute_v2)(void* kernel, KernelContext*) = nullptr;
  Status* (*infer_output_shape)(const CustomOp*, void* context) = nullptr;
  int (*start_version)(const CustomOp*) = nullptr;
  int (*end_version)(const CustomOp*) = nullptr;
  size_t (*may_inplace)(int** inputs, int** outputs) = nullptr;
  void (*release_may_inplace)(int*, int*) = nullptr;
  size_t (*alias_map)(int** inputs, int** outputs) = nullptr;
  void (*release_alias_map)(int*, int*) = nullptr;
};

}  // namespace deltaport::ort
