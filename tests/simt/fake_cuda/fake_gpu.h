// What kernels that run on the host need of the fake GPU in fake_gpu.cc.
#pragma once

#include <cuda_runtime_api.h>

// How blocks, threads and lanes take turns: the first one first, the last one first, or none before
// another, see apart_team.h.
enum class FakeGpuTurns { kForwards, kBackwards, kApart };

extern "C" {
// Between the two its memory may be touched; at any other time that ends the process, as it would
// where the memory is a GPU's. False for a stream that it did not give.
bool fake_gpu_begins(cudaStream_t stream);
void fake_gpu_ends();
FakeGpuTurns fake_gpu_turns();
}
