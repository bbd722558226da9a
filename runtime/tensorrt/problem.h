// How functions of the device's interface tell that they failed.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdio>

#include "device_abi.h"

namespace deltaport::device {

// Notes why; always false.
inline bool fail(Problem* problem, const char* what, const char* why) {
  std::snprintf(problem->text, sizeof problem->text, "%s: %s", what, why);
  problem->memory = false;
  return false;
}

inline bool out_of_memory(Problem* problem, const char* what) {
  fail(problem, "no memory left on the GPU", what);
  problem->memory = true;
  return false;
}

// Whether a call of CUDA went well. `what` it was to do, for the problem.
inline bool succeed(cudaError_t error, const char* what, Problem* problem) {
  if (error == cudaSuccess) return true;
  cudaGetLastError();  // or the next call that is asked for errors has this one
  return fail(problem, what, cudaGetErrorString(error));
}

}  // namespace deltaport::device
