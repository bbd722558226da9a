// A tile of weights that are stored as floats, of four bytes or two.
#pragma once

#include "simt/tile_place.h"

namespace deltaport::DELTAPORT_ISA {

template <class Element>
struct FloatTile {
  static constexpr int ahead = 1;
  struct Raw {
    Element v[kLaneRows][kLaneInputs];
  };

  const Element* first;
  int64_t width;
  int rows;
  bool aligned;  // every lane's inputs of a row

  DELTAPORT_INLINE FloatTile(const StoredMatrices& weights, const TilePlace& place)
      : first(static_cast<const Element*>(weights.elements.data) + place.first_row * place.width),
        width(place.width), rows(place.rows),
        aligned(reinterpret_cast<uintptr_t>(first) % 16 == 0 && width % kLaneInputs == 0) {}

  DELTAPORT_INLINE Raw read(int lane, int64_t step) const {
    const int64_t input = step * kStepInputs + lane_input(lane);
    Raw raw = {};
    DELTAPORT_UNROLL
    for (int r = 0; r < kLaneRows; ++r) {
      const int row = lane_row(lane) + r;
      if (row >= rows || input >= width) continue;
      const Element* from = first + row * width + input;
      if (aligned) {
        constexpr int kPerRead = 16 / sizeof(Element);
        DELTAPORT_UNROLL
        for (int i = 0; i < kLaneInputs; i += kPerRead) {
          const Words<4> words = read_words<4>(from + i);
          memcpy(raw.v[r] + i, &words, sizeof words);
        }
      } else {
        DELTAPORT_UNROLL
        for (int i = 0; i < kLaneInputs; ++i) {
          if (input + i < width) raw.v[r][i] = from[i];
        }
      }
    }
    return raw;
  }

  DELTAPORT_INLINE static void widen(const Raw& raw, LaneWeights* to) {
    DELTAPORT_UNROLL
    for (int r = 0; r < kLaneRows; ++r) {
      DELTAPORT_UNROLL
      for (int i = 0; i < kLaneInputs; ++i) to->w[r][i] = as_float(raw.v[r][i]);
    }
  }
};

}  // namespace deltaport::DELTAPORT_ISA
