// The experts' products: a block of threads takes the pairs of a work tile and 64 rows of their
// expert's weights, 16 a warp. What a warp reads of its rows, 16 bytes a lane at a time, all pairs
// use: in decode a chosen expert is read once, and with many tokens once for up to 16 of them.
//
// Inner activations stay fp32: they are few beside the weights, and rounding them again would cost
// precision. Every sum goes over a lane's inputs in ascending order and then over lanes, whatever
// number of pairs there is.
#pragma once

#include <type_traits>

#include "kernels/sparse_moe/simt_moe.h"

namespace deltaport::DELTAPORT_ISA {

constexpr int kProductWarps = 4, kProductThreads = kProductWarps * kLanes;
constexpr int kProductRows = kProductWarps * kTileRows;

template <int pairs>
struct ProductShared {
  static constexpr int slice = 4096 / pairs;  // inputs at a time
  static constexpr int round = 2;             // pairs summed up over lanes at a time

  Floats4 x[pairs][slice / 4];
  Floats4 parts[round][kProductThreads];  // of a lane's rows
  float sums[pairs][kProductRows];
};

// What the rows of a block are. Inner activations need a gate row and its up row: half of the warps
// take the one, half the other.
enum class Product { kInner, kOut };

template <Product product, int pairs, class Team>
struct ExpertProduct {
  using Shared = ProductShared<pairs>;
  static_assert(Team::threads == kProductThreads && Shared::slice % kStepInputs == 0);

  static constexpr int halves = product == Product::kInner ? 2 : 1;
  static constexpr int rows = kProductRows / halves;  // of the result

  const Team& team;
  const MoEStep& step;
  Shared& shared;
  WorkTile tile;
  int64_t block;  // of rows
  PerThread<float[pairs][kLaneRows], Team> sums = {};

  // Rows of the result, which are those of half a gate and up matrix, and inputs.
  DELTAPORT_INLINE int64_t all_rows() const {
    return product == Product::kInner ? step.width_inside(tile.expert) : step.args.hidden;
  }
  DELTAPORT_INLINE int64_t width() const {
    return product == Product::kInner ? step.args.hidden : step.width_inside(tile.expert);
  }

  DELTAPORT_INLINE const StoredMatrices& weights() const {
    const MoEArgs& args = step.args;
    const bool is_shared = tile.expert == args.experts;
    if (product == Product::kInner) return is_shared ? args.shared_gate_up : args.gate_up;
    return is_shared ? args.shared_down : args.down;
  }

  DELTAPORT_INLINE TilePlace place(int warp) const {
    constexpr int warps = kProductWarps / halves;
    const int64_t expert = tile.expert == step.args.experts ? 0 : tile.expert;
    const int64_t matrix = expert * halves + warp / warps;
    return TilePlace::at(matrix, all_rows(), width(), block * warps + warp % warps);
  }

  // Inputs of every pair from `begin` on, zeros up to a whole step.
  DELTAPORT_INLINE void load_slice(int64_t begin) {
    const int64_t rest = width() - begin;
    const int64_t end = rest < Shared::slice
                            ? (rest + kStepInputs - 1) / kStepInputs * kStepInputs
                            : Shared::slice;
    team.each([&](int thread) {
      for (int p = 0; p < tile.count; ++p) {
        const Weights from = inputs_of(tile.first + p);
        for (int64_t c = thread; c < end; c += Team::threads) {
          shared.x[p][c / 4].v[c % 4] = c < rest ? stored_at(from, begin + c) : 0.0f;
        }
      }
    });
  }
  DELTAPORT_INLINE Weights inputs_of(int64_t pair) const {
    if (product == Product::kOut) return {step.inner_of(tile.expert, pair), ElementType::kFloat32};
    const int64_t first = (step.begin + step.pair_token[pair]) * step.args.hidden;
    const int64_t bytes = step.args.x.type == ElementType::kFloat32 ? 4 : 2;
    return {static_cast<const char*>(step.args.x.data) + first * bytes, step.args.x.type};
  }

  DELTAPORT_INLINE void add_step(int thread, int at, const LaneWeights& held) {
    const int input = (at * kStepInputs + lane_input(thread % kLanes)) / 4;
    DELTAPORT_UNROLL
    for (int p = 0; p < pairs; ++p) {
      if (p >= tile.count) break;
      const Floats4 x[2] = {shared.x[p][input], shared.x[p][input + 1]};
      DELTAPORT_UNROLL
      for (int r = 0; r < kLaneRows; ++r) {
        DELTAPORT_UNROLL
        for (int i = 0; i < kLaneInputs; ++i) {
          float& sum = sums[thread][p][r];
          sum = fmaf(held.w[r][i], x[i / 4].v[i % 4], sum);
        }
      }
    }
  }

  DELTAPORT_INLINE void multiply_slice(int64_t begin) {
    const int64_t rest = (width() - begin + kStepInputs - 1) / kStepInputs;
    const int steps = static_cast<int>(rest < Shared::slice / kStepInputs
                                           ? rest
                                           : Shared::slice / kStepInputs);
    team.each([&](int thread) {
      const TilePlace at = place(thread / kLanes);
      if (at.rows <= 0) return;
      with_tile(weights(), at, [&](const auto& reader) {
        using Reader = std::remove_cvref_t<decltype(reader)>;
        for (int s = 0; s < steps; s += Reader::ahead) {
          typename Reader::Raw raw[Reader::ahead];
          DELTAPORT_UNROLL
          for (int i = 0; i < Reader::ahead; ++i) {
            raw[i] = reader.read(thread % kLanes, begin / kStepInputs + s + i);
          }
          DELTAPORT_UNROLL
          for (int i = 0; i < Reader::ahead; ++i) {
            if (s + i >= steps) break;
            LaneWeights held;
            Reader::widen(raw[i], &held);
            add_step(thread, s + i, held);
          }
        }
      });
    });
  }

  // Sums over the lanes that share rows, some pairs at a time.
  DELTAPORT_INLINE void sum_lanes() {
    DELTAPORT_UNROLL
    for (int begin = 0; begin < pairs; begin += Shared::round) {
      if (begin >= tile.count) break;
      team.each([&](int thread) {
        DELTAPORT_UNROLL
        for (int i = 0; i < Shared::round; ++i) {
          const float* own = sums[thread][begin + i];
          shared.parts[i][thread] = {own[0], own[1], own[2], own[3]};
        }
      });
      team.each([&](int thread) {
        const int row = thread % kProductRows, pair = thread / kProductRows;
        const int first = row / kTileRows * kLanes + row % kTileRows / kLaneRows;
        float sum = 0;
        DELTAPORT_UNROLL
        for (int l = 0; l < kInputLanes; ++l) {
          sum += shared.parts[pair][first + l * (kLanes / kInputLanes)].v[row % kLaneRows];
        }
        shared.sums[begin + pair][row] = sum;
      });
    }
  }
  static_assert(Shared::round * kProductRows == kProductThreads);

  DELTAPORT_INLINE void give() {
    team.each([&](int thread) {
      for (int i = thread; i < tile.count * rows; i += Team::threads) {
        const int64_t pair = tile.first + i / rows, row = block * rows + i % rows;
        if (row >= all_rows()) continue;
        const float* found = shared.sums[i / rows] + i % rows;
        if (product == Product::kInner) {
          step.inner_of(tile.expert, pair)[row] = silu(Vec::all(found[0])).v * found[rows];
        } else {
          step.out[pair * step.args.hidden + row] = found[0];
        }
      }
    });
  }

  DELTAPORT_INLINE void run() {
    if (block * rows >= all_rows()) return;
    for (int64_t begin = 0; begin < width(); begin += Shared::slice) {
      load_slice(begin);
      multiply_slice(begin);
    }
    sum_lanes();
    give();
  }
};

}  // namespace deltaport::DELTAPORT_ISA
