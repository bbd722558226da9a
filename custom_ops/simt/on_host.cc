// What runs on GPUs compiled for the host, where the threads of a team take turns: for its tests.
#define DELTAPORT_ISA simt_on_host
#define DELTAPORT_SIMT
#include "kernels/causal_conv1d/simt_conv.h"
#include "kernels/gated_delta_rule/simt_chunks.h"
#include "kernels/gated_delta_rule/simt_steps.h"
#include "kernels/sparse_moe/simt_stages.h"

namespace deltaport::simt_on_host {

// All heads of all rows, their shared memory full of NaN at first.
template <template <class, class> class Kernel, class Team, class Shared, class Element>
void run_delta_rule(const DeltaRuleArgs<Element>& args) {
  const Team team;
  for (int64_t row = 0; row < args.rows; ++row) {
    for (int64_t head = 0; head < args.value_heads; ++head) {
      Shared shared;
      memset(&shared, 0xFF, sizeof shared);
      Kernel<Element, Team>{team, args, {args, row, head}, shared}.run();
    }
  }
}
template <bool backwards = false, class Element>
void run_delta_steps(const DeltaRuleArgs<Element>& args) {
  run_delta_rule<DeltaSteps, HostTeam<kStepThreads, backwards>, DeltaStepsShared>(args);
}
template <bool backwards = false, class Element>
void run_delta_chunks(const DeltaRuleArgs<Element>& args) {
  run_delta_rule<DeltaChunks, HostTeam<kChunkThreads, backwards>, DeltaChunkShared>(args);
}

// sum [rows, columns] += left [rows, depth] right [depth, columns], sizes that tiles divide.
void multiply_tiles(const float* left, const float* right, float* sum, int64_t rows,
                    int64_t columns, int64_t depth) {
  using Team = HostTeam<kLanes>;
  for (int64_t i = 0; i < rows; i += 16) {
    for (int64_t j = 0; j < columns; j += 8) {
      Tile<Team> tile;
      const auto at = [&](int row, int column) { return (i + row) * columns + j + column; };
      tile.each([&](int row, int column, float& x) { x = sum[at(row, column)]; });
      for (int64_t k = 0; k < depth; k += 8) {
        add_product(tile, left_factor<Team>([&](int row, int column) {
                      return left[(i + row) * depth + k + column];
                    }),
                    right_factor<Team>([&](int row, int column) {
                      return right[(k + row) * columns + j + column];
                    }));
      }
      tile.each([&](int row, int column, float& x) { sum[at(row, column)] = x; });
    }
  }
}

template <class Element>
bool run_convolution(const ConvArgs<Element>& args) {
  using Team = HostTeam<kConvThreads>;
  const Team team;
  return with_taps(args.taps, [&]<int taps>() {
    for (int64_t row = 0; row < args.rows; ++row) {
      for (int64_t stretch = 0; stretch * kConvTokens < args.tokens; ++stretch) {
        for (int64_t block = 0; block * kConvThreads < args.channels; ++block) {
          Convolution<Element, taps, Team>{team, args, row, block, stretch}.run();
        }
      }
    }
  });
}

template <bool backwards>
void run_mixture(const MoEArgs& args, void* workspace) {
  each_moe_stage(args, workspace, []<class Stage>(const MoEStep& step, int64_t x, int64_t y) {
    const HostTeam<Stage::threads, backwards> team;
    for (int64_t turn = 0; turn < x * y; ++turn) {
      const int64_t block = backwards ? x * y - 1 - turn : turn;
      typename Stage::Shared shared;
      memset(&shared, 0xFF, sizeof shared);  // NaN in what nobody wrote
      Stage::run(team, step, shared, block % x, block / x);
    }
  });
}

}  // namespace deltaport::simt_on_host

using namespace deltaport;
using namespace deltaport::simt_on_host;

extern "C" {

void gated_delta_steps_float32(const DeltaRuleArgs<float>* args) { run_delta_steps(*args); }
void gated_delta_steps_bfloat16(const DeltaRuleArgs<BFloat16>* args) { run_delta_steps(*args); }
void gated_delta_steps_float16(const DeltaRuleArgs<Float16>* args) { run_delta_steps(*args); }
void gated_delta_steps_float32_backwards(const DeltaRuleArgs<float>* args) {
  run_delta_steps<true>(*args);
}

void gated_delta_chunks_float32(const DeltaRuleArgs<float>* args) { run_delta_chunks(*args); }
void gated_delta_chunks_bfloat16(const DeltaRuleArgs<BFloat16>* args) { run_delta_chunks(*args); }
void gated_delta_chunks_float16(const DeltaRuleArgs<Float16>* args) { run_delta_chunks(*args); }
void gated_delta_chunks_float32_backwards(const DeltaRuleArgs<float>* args) {
  run_delta_chunks<true>(*args);
}

void tile_product(const float* left, const float* right, float* sum, int64_t rows, int64_t columns,
                  int64_t depth) {
  multiply_tiles(left, right, sum, rows, columns, depth);
}
void mma_m16n8k8(float (*c)[4], const float (*a)[4], const float (*b)[2]) {
  using Registers4 = float[kLanes][4];
  using Registers2 = float[kLanes][2];
  mma(reinterpret_cast<Registers4&>(*c), reinterpret_cast<const Registers4&>(*a),
      reinterpret_cast<const Registers2&>(*b));
}
void round_tf32(const float* x, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = round_to_tf32(x[i]);
}

bool causal_conv1d_float32(const ConvArgs<float>* args) { return run_convolution(*args); }
bool causal_conv1d_bfloat16(const ConvArgs<BFloat16>* args) { return run_convolution(*args); }
bool causal_conv1d_float16(const ConvArgs<Float16>* args) { return run_convolution(*args); }

int64_t sparse_moe_workspace(const MoEArgs* args) { return moe_workspace_bytes(*args); }
bool sparse_moe(const MoEArgs* args, void* workspace, bool backwards) {
  if (!moe_is_supported(*args)) return false;
  backwards ? run_mixture<true>(*args, workspace) : run_mixture<false>(*args, workspace);
  return true;
}

void narrow_bfloat16(const float* x, BFloat16* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) narrow(x[i], to + i);
}
void narrow_float16(const float* x, Float16* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) narrow(x[i], to + i);
}
}
