// Small kernels that are wrong on a GPU, each beside one that is right: what test_races.py takes to
// find out whether threads that race are found.
#include <cuda_runtime_api.h>

#include "gpu_kernels/told.h"
#include "simt/launch_cuda.h"
#include "simt/team.h"

namespace deltaport::DELTAPORT_ISA {

// [kCount] in and out.
struct RaceArgs {
  const float* from;
  float* to;
};

constexpr int kCount = 2 * kLanes;

struct Values {
  float values[kCount];
};

// A thread writes its value, and reads its neighbour's: in the same phase, or in the next one.
template <bool races>
struct Neighbours {
  static constexpr int threads = kCount;
  using Shared = Values;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const RaceArgs& args, Shared& shared,
                                   const Blocks&) {
    const auto write = [&](int i) { shared.values[i] = args.from[i]; };
    const auto read = [&](int i) { args.to[i] = shared.values[(i + kCount - 1) % kCount]; };
    if constexpr (races) {
      team.each([&](int thread) {
        write(thread);
        read(thread);
      });
    } else {
      team.each(write);
      team.each(read);
    }
  }
};

// The same of the lanes of a warp. Here all lanes have written before any reads when they take
// turns, in any order: on a GPU nothing but a barrier makes that so.
template <bool races>
struct Lanes {
  static constexpr int threads = kCount;
  using Shared = Values;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const RaceArgs& args, Shared& shared,
                                   const Blocks&) {
    const auto write = [&](int warp) {
      Team::each_lane([&](int lane, int) {
        const int i = warp * kLanes + lane;
        shared.values[i] = args.from[i];
      });
    };
    const auto read = [&](int warp) {
      Team::each_lane([&](int lane, int) {
        const int i = warp * kLanes + lane, other = warp * kLanes + (lane + 1) % kLanes;
        args.to[i] = shared.values[other];
      });
    };
    if constexpr (races) {
      team.each_warp([&](int warp) {
        write(warp);
        read(warp);
      });
    } else {
      team.each_warp(write);
      team.each_warp(read);
    }
  }
};

// Two threads, or lanes of a warp, write to one place, where 0 lies before.
template <bool races, bool lanes>
struct Writers {
  static constexpr int threads = kCount;
  using Shared = Values;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const RaceArgs& args, Shared& shared,
                                   const Blocks&) {
    team.each([&](int thread) { shared.values[thread] = 0; });
    const auto write = [&](int i) {
      if (i == 5 || i == 9) shared.values[races ? 0 : i] = args.from[i];
    };
    if constexpr (lanes) {
      team.each_warp([&](int warp) {
        Team::each_lane([&](int lane, int) { write(warp * kLanes + lane); });
      });
    } else {
      team.each(write);
    }
    team.each([&](int thread) { args.to[thread] = shared.values[thread]; });
  }
};

template <class Kernel>
const char* run_race(const RaceArgs& args, cudaStream_t stream) {
  return told(launch<Kernel>(args, Blocks{}, stream));
}

}  // namespace deltaport::DELTAPORT_ISA

using namespace deltaport::DELTAPORT_ISA;

#define KERNEL(name, ...)                                         \
  const char* name(const RaceArgs* args, cudaStream_t stream) {   \
    return run_race<__VA_ARGS__>(*args, stream);                  \
  }

extern "C" {
KERNEL(neighbours_race, Neighbours<true>)
KERNEL(neighbours_wait, Neighbours<false>)
KERNEL(lanes_race, Lanes<true>)
KERNEL(lanes_wait, Lanes<false>)
KERNEL(threads_write_one_place, Writers<true, false>)
KERNEL(threads_write_their_own, Writers<false, false>)
KERNEL(lanes_write_one_place, Writers<true, true>)
KERNEL(lanes_write_their_own, Writers<false, true>)
}
