// How functions of this library tell what a launch did.
#pragma once

#include <cuda_runtime_api.h>

// Nothing where it went well, else CUDA's words for it.
inline const char* told(cudaError_t result) {
  return result == cudaSuccess ? nullptr : cudaGetErrorString(result);
}
