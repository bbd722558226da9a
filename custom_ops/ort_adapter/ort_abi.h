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
struct SessionOptions;
struct CustomOpDomain;
struct KernelInfo;
struct KernelContext;
struct Value;
struct TensorInfo;
struct CustomOp;

enum ErrorCode : int { kFail = 1, kInvalidArgument = 2 };

enum TensorType : int {
  kUndefined = 0,  // as an op's declaration: any
  kFloat32 = 1,
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
  DELTAPORT_ORT_ENTRY(2, error_message, const char*, const Status*)
  DELTAPORT_ORT_ENTRY(26, create_domain, Status*, const char*, CustomOpDomain**)
  DELTAPORT_ORT_ENTRY(27, add_op, Status*, CustomOpDomain*, const CustomOp*)
  DELTAPORT_ORT_ENTRY(28, add_domain, Status*, SessionOptions*, CustomOpDomain*)
  DELTAPORT_ORT_ENTRY(51, tensor_data, Status*, Value*, void**)
  DELTAPORT_ORT_ENTRY(60, element_type, Status*, const TensorInfo*, TensorType*)
  DELTAPORT_ORT_ENTRY(61, rank, Status*, const TensorInfo*, size_t*)
  DELTAPORT_ORT_ENTRY(62, dimensions, Status*, const TensorInfo*, int64_t*, size_t)
  DELTAPORT_ORT_ENTRY(65, tensor_info, Status*, const Value*, TensorInfo**)
  DELTAPORT_ORT_ENTRY(85, float_attribute, Status*, const KernelInfo*, const char*, float*)
  DELTAPORT_ORT_ENTRY(86, int_attribute, Status*, const KernelInfo*, const char*, int64_t*)
  DELTAPORT_ORT_ENTRY(90, input, Status*, const KernelContext*, size_t, const Value**)
  DELTAPORT_ORT_ENTRY(91, output, Status*, KernelContext*, size_t, const int64_t*, size_t, Value**)
  DELTAPORT_ORT_ENTRY(93, release_status, void, Status*)
  DELTAPORT_ORT_ENTRY(99, release_tensor_info, void, TensorInfo*)
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
