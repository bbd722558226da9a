// What the kernels are made of, as kernels of its own: for its tests, on GPUs and on hosts.
#include <cuda_runtime_api.h>

#include "gpu_kernels/told.h"
#include "simt/launch_cuda.h"
#include "simt/narrow.h"
#include "simt/tile.h"

namespace deltaport::DELTAPORT_ISA {

// sum [rows, columns] += left [rows, depth] right [depth, columns], sizes that tiles divide.
struct TileProductArgs {
  const float *left, *right;
  float* sum;
  int64_t rows, columns, depth;
};

// A warp for a tile of the sum.
struct TileProduct {
  static constexpr int threads = kLanes;
  using Shared = NothingShared;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const TileProductArgs& args, Shared&,
                                   const Blocks& block) {
    const int64_t i = block.y * 16, j = block.x * 8;
    float* const sum = args.sum + i * args.columns + j;
    const float* const left = args.left + i * args.depth;
    const float* const right = args.right + j;
    team.each_warp([&](int) {
      Tile<Team> tile;
      tile.each([&](int row, int column, float& x) { x = sum[row * args.columns + column]; });
      for (int64_t k = 0; k < args.depth; k += 8) {
        add_product(tile, left_factor<Team>([&](int row, int column) {
                      return left[row * args.depth + k + column];
                    }),
                    right_factor<Team>([&](int row, int column) {
                      return right[(k + row) * args.columns + column];
                    }));
      }
      tile.each([&](int row, int column, float& x) { sum[row * args.columns + column] = x; });
    });
  }
};

// The registers of all lanes: c [32, 4] += a [32, 4] b [32, 2].
struct MmaArgs {
  float* c;
  const float *a, *b;
};

struct Mma {
  static constexpr int threads = kLanes;
  using Shared = NothingShared;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const MmaArgs& args, Shared&, const Blocks&) {
    team.each_warp([&](int) {
      float a[Team::lanes_here][4], b[Team::lanes_here][2], c[Team::lanes_here][4];
      Team::each_lane([&](int lane, int at) {
        for (int i = 0; i < 4; ++i) a[at][i] = args.a[lane * 4 + i];
        for (int i = 0; i < 2; ++i) b[at][i] = args.b[lane * 2 + i];
        for (int i = 0; i < 4; ++i) c[at][i] = args.c[lane * 4 + i];
      });
      mma(c, a, b);
      Team::each_lane([&](int lane, int at) {
        for (int i = 0; i < 4; ++i) args.c[lane * 4 + i] = c[at][i];
      });
    });
  }
};

template <class To>
struct RoundArgs {
  const float* from;
  To* to;
  int64_t count;
};

DELTAPORT_INLINE void round_to(float x, float* to) { *to = round_to_tf32(x); }
template <class TwoBytes>
DELTAPORT_INLINE void round_to(float x, TwoBytes* to) {
  narrow(x, to);
}

template <class To>
struct Round {
  static constexpr int threads = 128;
  using Shared = NothingShared;
  template <class Team>
  static DELTAPORT_INLINE void run(const Team& team, const RoundArgs<To>& args, Shared&,
                                   const Blocks& block) {
    team.each([&](int thread) {
      const int64_t i = block.x * threads + thread;
      if (i < args.count) round_to(args.from[i], args.to + i);
    });
  }
};

template <class To>
const char* round_all(const RoundArgs<To>& args, cudaStream_t stream) {
  return told(launch<Round<To>>(args, Blocks{blocks_of(args.count, Round<To>::threads)}, stream));
}

}  // namespace deltaport::DELTAPORT_ISA

using namespace deltaport;
using namespace deltaport::DELTAPORT_ISA;

extern "C" {
const char* tile_product(const TileProductArgs* args, cudaStream_t stream) {
  return told(launch<TileProduct>(*args, Blocks{args->columns / 8, args->rows / 16}, stream));
}
const char* mma_m16n8k8(const MmaArgs* args, cudaStream_t stream) {
  return told(launch<Mma>(*args, Blocks{}, stream));
}
const char* round_tf32(const RoundArgs<float>* args, cudaStream_t stream) {
  return round_all(*args, stream);
}
const char* narrow_bfloat16(const RoundArgs<BFloat16>* args, cudaStream_t stream) {
  return round_all(*args, stream);
}
const char* narrow_float16(const RoundArgs<Float16>* args, cudaStream_t stream) {
  return round_all(*args, stream);
}
}
