// Threads that work in phases: what a CUDA kernel is written in, so that the same code runs on a
// GPU and, for its tests, on any machine.
//
// A kernel is a template on its Team and does everything in phases:
//
//     team.each([&](int thread) { ... });   // all threads, and then all wait for each other
//
// What a thread keeps from one phase to the next lies in a PerThread, what all threads see in
// shared memory, a struct that the caller provides. On a GPU a phase is the body and a barrier, and
// PerThread is the thread's own registers. On the host the threads take turns.
//
// What only whole warps can do, products of tiles (simt/tile.h), is done in phases of
//
//     team.each_warp([&](int warp) { ... });
//
// whose body all 32 lanes of a warp run together on a GPU, and the host once for the warp. So it
// may hold tiles, but no variable that differs from lane to lane; PerWarp keeps tiles between
// phases.
#pragma once

#include "simd/vec.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int kLanes = 32;  // of a warp

// Backwards, the last thread, warp and lane have the first turn. A kernel gives the same either
// way, unless a thread reads what another writes in the same phase.
template <int count, bool backwards = false>
struct HostTeam {
  static constexpr int threads = count;
  static constexpr int here = count;  // threads whose PerThread is in this memory
  static constexpr int warps_here = count / kLanes;
  static constexpr int lanes_here = kLanes;  // lanes of a warp whose part of a tile is

  template <class Body>
  void each(const Body& body) const {
    for (int i = 0; i < threads; ++i) body(backwards ? threads - 1 - i : i);
  }
  template <class Body>
  void each_warp(const Body& body) const {
    for (int i = 0; i < warps_here; ++i) body(backwards ? warps_here - 1 - i : i);
  }
  // body(lane, where its part lies) within a phase of warps.
  template <class Body>
  static void each_lane(const Body& body) {
    for (int i = 0; i < kLanes; ++i) {
      const int lane = backwards ? kLanes - 1 - i : i;
      body(lane, lane);
    }
  }
};

#if defined(__CUDACC__)
template <int count>
struct DeviceTeam {
  static constexpr int threads = count;
  static constexpr int here = 1;
  static constexpr int warps_here = 1;
  static constexpr int lanes_here = 1;

  template <class Body>
  __device__ void each(const Body& body) const {
    body(static_cast<int>(threadIdx.x));
    __syncthreads();
  }
  template <class Body>
  __device__ void each_warp(const Body& body) const {
    body(static_cast<int>(threadIdx.x) / kLanes);
    __syncthreads();
  }
  template <class Body>
  static __device__ void each_lane(const Body& body) {
    body(static_cast<int>(threadIdx.x) % kLanes, 0);
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

template <class Value, class Team>
struct PerWarp {
  Value values[Team::warps_here];

  DELTAPORT_INLINE Value& operator[](int warp) {
    return values[Team::warps_here == 1 ? 0 : warp];
  }
};

// The sums of `count` runs of kSummed values in shared memory, into the first of each. Always in
// the same order, by halves.
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
