// What a fake of TensorRT needs of the fake of CUDA beside CUDA's own functions.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>

// Does `work` when the stream comes to it; while the stream is captured, when its graph is launched.
void enqueue(cudaStream_t stream, std::function<void()> work);
// What is being done for the stream fails: whoever waits for it is told.
void fail(cudaStream_t stream);
bool is_capturing(cudaStream_t stream);
// Whether `bytes` from `memory` on are the GPU's.
bool is_of_the_gpu(const void* memory, size_t bytes);
