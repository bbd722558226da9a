// A tile of weights of any storage, which is known when a kernel runs.
//
// A tile's reader has a Raw, what a lane reads in a step; `ahead`, how many steps' reads are under
// way at a time; read(lane, step), zero beyond the weight's end; and widen(raw, lane weights).
#pragma once

#include "simt/code_tile.h"
#include "simt/float_tile.h"

namespace deltaport::DELTAPORT_ISA {

// body(reader) for the tile as it is stored.
template <class Body>
DELTAPORT_INLINE void with_tile(const StoredMatrices& weights, const TilePlace& place,
                                const Body& body) {
  if (weights.codes.codes != nullptr) {
    if (weights.codes.bits == 4) return body(CodeTile<4>(weights, place));
    return body(CodeTile<8>(weights, place));
  }
  switch (weights.elements.type) {
    case ElementType::kFloat16:
      return body(FloatTile<Float16>(weights, place));
    case ElementType::kBFloat16:
      return body(FloatTile<BFloat16>(weights, place));
    default:
      return body(FloatTile<float>(weights, place));
  }
}

}  // namespace deltaport::DELTAPORT_ISA
