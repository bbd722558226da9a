// How a kernel is written down, for GPUs to launch and for hosts to take in turns. It is a struct with
//
//     static constexpr int threads = ...;   // of a block
//     using Shared = ...;                   // what its threads share; nobody clears it
//     template <class Team>
//     static DELTAPORT_INLINE void run(const Team&, const Args&, Shared&, const Blocks& block);
//
// and launch_cuda.h launches it, from the cuda.cu of an op, where it says how many blocks there are.
#pragma once

#include <cstdint>

#include "simd/vec.h"

namespace deltaport::DELTAPORT_ISA {

// How many blocks of threads, or which of them.
struct Blocks {
  int64_t x = 1, y = 1, z = 1;

  int64_t count() const { return x * y * z; }
};

// The Shared of a kernel whose threads share nothing.
struct NothingShared {};

// So many of `of` as cover n.
constexpr int64_t blocks_of(int64_t n, int64_t of) { return (n + of - 1) / of; }

}  // namespace deltaport::DELTAPORT_ISA
