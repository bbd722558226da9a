// Products of matrices by tiles, within a phase of warps: sum += left right, with left 16 x 8,
// right 8 x 8 and sum 16 x 8, on tensor cores. A tile is what its lane holds of it on a GPU, and
// all of it on the host.
//
// As accurate as floats: a factor is the sum of two of TF32, of whose four products the three that
// matter are added up. What tensor cores add they cut off; so they add up what one pair of tiles
// gives, 8 products in their parts, and floats add those sums. (Ootomo and Yokota, "Recovering
// single precision accuracy from Tensor Cores while surpassing the FP32 theoretical peak
// performance", arXiv 2203.03341.)
#pragma once

#include "simt/mma.h"

namespace deltaport::DELTAPORT_ISA {

// 16 x 8. What mma calls columns t and t + 4 of its left factor are columns 2t and 2t + 1 here, and
// so are the rows of the right factor: the order of summands is free. With it a lane holds the same
// elements of a sum and of a left factor, and a sum can be the next product's factor as it is.
template <class Team>
struct Tile {
  float own[Team::lanes_here][4];

  // body(row, column, element)
  template <class Body>
  DELTAPORT_INLINE void each(const Body& body) {
    Team::each_lane([&](int lane, int at) {
      DELTAPORT_UNROLL
      for (int i = 0; i < 4; ++i) body(lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2, own[at][i]);
    });
  }
  DELTAPORT_INLINE void scale_and_add(float scale, const Tile& other) {
    Team::each_lane([&](int, int at) {
      DELTAPORT_UNROLL
      for (int i = 0; i < 4; ++i) own[at][i] = fmaf(scale, own[at][i], other.own[at][i]);
    });
  }
};

// 8 x 8.
template <class Team>
struct RightTile {
  float own[Team::lanes_here][2];

  template <class Body>
  DELTAPORT_INLINE void each(const Body& body) {
    Team::each_lane([&](int lane, int at) {
      DELTAPORT_UNROLL
      for (int i = 0; i < 2; ++i) body(lane % 4 * 2 + i, lane / 4, own[at][i]);
    });
  }
};

// The two factors as mma has them: each element a sum of two of TF32.
template <class Team>
struct LeftFactor {
  float high[Team::lanes_here][4], low[Team::lanes_here][4];
};
template <class Team>
struct RightFactor {
  float high[Team::lanes_here][2], low[Team::lanes_here][2];
};

DELTAPORT_INLINE void split(float x, float* high, float* low) {
  *high = round_to_tf32(x);
  *low = round_to_tf32(x - *high);
}

template <class Team>
DELTAPORT_INLINE LeftFactor<Team> left_factor(const Tile<Team>& tile) {
  LeftFactor<Team> factor;
  Team::each_lane([&](int, int at) {
    DELTAPORT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int to = i % 2 * 2 + i / 2;
      split(tile.own[at][i], &factor.high[at][to], &factor.low[at][to]);
    }
  });
  return factor;
}

// Of elements element(row, column).
template <class Team, class Element>
DELTAPORT_INLINE LeftFactor<Team> left_factor(const Element& element) {
  Tile<Team> tile;
  tile.each([&](int row, int column, float& x) { x = element(row, column); });
  return left_factor(tile);
}
template <class Team, class Element>
DELTAPORT_INLINE RightFactor<Team> right_factor(const Element& element) {
  RightTile<Team> tile;
  tile.each([&](int row, int column, float& x) { x = element(row, column); });
  RightFactor<Team> factor;
  Team::each_lane([&](int, int at) {
    DELTAPORT_UNROLL
    for (int i = 0; i < 2; ++i) split(tile.own[at][i], &factor.high[at][i], &factor.low[at][i]);
  });
  return factor;
}

template <class Team>
DELTAPORT_INLINE void add_product(Tile<Team>& sum, const LeftFactor<Team>& left,
                                  const RightFactor<Team>& right) {
  Tile<Team> product = {};
  mma(product.own, left.low, right.high);
  mma(product.own, left.high, right.low);
  mma(product.own, left.high, right.high);
  Team::each_lane([&](int, int at) {
    DELTAPORT_UNROLL
    for (int i = 0; i < 4; ++i) sum.own[at][i] += product.own[at][i];
  });
}

}  // namespace deltaport::DELTAPORT_ISA
