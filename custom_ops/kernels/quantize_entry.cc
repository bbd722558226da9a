// The quantizer for whoever loads the library without ONNX Runtime: an export.
#include <atomic>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <thread>
#include <vector>

#include "kernels/kernel_table.h"

namespace deltaport {

namespace {

// Threads of its own, which take the next task when they are through with theirs.
Parallel threads_of_its_own(int& threads) {
  const auto run = [](void* pool, size_t n, Parallel::Task task, void* data) {
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i = next++; i < n; i = next++) task(data, i);
    };
    std::vector<std::thread> others;
    const int count = *static_cast<int*>(pool);
    try {
      while (static_cast<int>(others.size()) < count - 1) others.emplace_back(work);
    } catch (const std::exception&) {
      // Fewer threads than asked for do it, too.
    }
    work();
    for (std::thread& other : others) other.join();
  };
  return {run, &threads};
}

}  // namespace

}  // namespace deltaport

// Quantizes values [rows, inputs], all finite: see QuantizeArgs. 0, or 1 for sizes that make no sense,
// or 2 where DELTAPORT_ISA names no instruction set of this machine, or 3 without memory.
extern "C" __attribute__((visibility("default"))) int deltaport_quantize(
    const float* values, int64_t rows, int64_t inputs, int bits, int offsets, int64_t block,
    int threads, uint8_t* codes, uint16_t* scales) {
  using namespace deltaport;
  static_assert(sizeof(BFloat16) == sizeof(uint16_t));
  if (rows < 0 || inputs < 0 || (bits != 4 && bits != 8) || block < kGroupInputs ||
      block % kGroupInputs != 0 || block > kLargestBlock || threads < 1) {
    return 1;
  }
  const QuantizeArgs args{rows,  inputs, values, bits, offsets != 0, block,
                          codes, reinterpret_cast<BFloat16*>(scales)};
  const char* isa = std::getenv("DELTAPORT_ISA");
  try {
    kernels_for(isa == nullptr ? "" : isa).quantize(args, threads_of_its_own(threads));
  } catch (const std::invalid_argument&) {
    return 2;
  } catch (...) {  // no memory
    return 3;
  }
  return 0;
}
