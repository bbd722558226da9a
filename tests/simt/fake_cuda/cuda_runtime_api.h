// The little of CUDA's header that TensorRT's headers, the adapter and the kernels mention, for hosts
// without CUDA.
#pragma once

using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorCollision };

inline const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorCollision:  // which CUDA does not have
      return "threads write the same place in one phase";
  }
  return "unknown error";
}
