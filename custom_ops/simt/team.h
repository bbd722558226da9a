// Threads that work in phases: what a CUDA kernel is written in, so that the same code runs on a GPU
// and, for its tests, on any machine.
//
// A kernel is a template on its Team and does everything in phases:
//
//     team.each([&](int thread) { ... });   // all threads, and then all wait for each other
//
// What a thread keeps from one phase to the next lies in a PerThread, what all threads see in shared
// memory, a struct that the caller provides. On a GPU a phase is the body and a barrier, and PerThread
// is the thread's own registers. On the host the threads take turns.
#pragma once

#include "simd/vec.h"

namespace deltaport::DELTAPORT_ISA {

// What depends on the turns that threads take in a phase shows where they are taken backwards.
template <int count, bool backwards = false>
struct HostTeam {
  static constexpr int threads = count;
  static constexpr int here = count;  // threads whose PerThread is in this memory

  template <class Body>
  void each(const Body& body) const {
    for (int turn = 0; turn < threads; ++turn) body(backwards ? threads - 1 - turn : turn);
  }
};

#if defined(__CUDACC__)
template <int count>
struct DeviceTeam {
  static constexpr int threads = count;
  static constexpr int here = 1;

  template <class Body>
  __device__ void each(const Body& body) const {
    body(static_cast<int>(threadIdx.x));
    __syncthreads();
  }
};
#endif

template <class Value, class Team>
struct PerThread {
  Value values[Team::here];

  DELTAPORT_INLINE Value& operator[](int thread) {
    return values[Team::here == 1 ? 0 : thread];
  }
};

constexpr int kLanes = 32;  // threads of a warp

// To every thread of a warp the largest of the warp's values. All threads of the team call this.
template <class Team>
DELTAPORT_INLINE void largest_of_warp(const Team&, PerThread<uint32_t, Team>& values) {
#if defined(__CUDA_ARCH__)
  values[0] = __reduce_max_sync(0xFFFFFFFF, values[0]);
#else
  for (int first = 0; first + kLanes <= Team::here; first += kLanes) {
    uint32_t largest = 0;
    for (int lane = 0; lane < kLanes; ++lane) {
      if (values[first + lane] > largest) largest = values[first + lane];
    }
    for (int lane = 0; lane < kLanes; ++lane) values[first + lane] = largest;
  }
#endif
}

// The sums of `count` runs of kSummed values in shared memory, into the first of each. Always in the
// same order, by halves.
constexpr int kSummed = 128;

template <class Team>
DELTAPORT_INLINE void sum_runs(const Team& team, float* runs, int count) {
  for (int half = kSummed / 2; half > 0; half /= 2) {
    team.each([&](int thread) {
      for (int i = thread; i < count * half; i += Team::threads) {
        float* run = runs + i / half * kSummed;
        run[i % half] += run[i % half + half];
      }
    });
  }
}

}  // namespace deltaport::DELTAPORT_ISA
