// How experts are compared: logits as whole numbers, of which a warp finds the largest at once.
#pragma once

#include "simd/vec.h"

namespace deltaport::DELTAPORT_ISA {

// A logit as a number that is the larger the larger the logit is, and never 0. NaN is the largest,
// so that a token with one chooses it first.
DELTAPORT_INLINE uint32_t rank_of(float logit) {
  logit += 0.0f;  // there is one zero
  uint32_t bits = 0x7FC00000;
  if (logit == logit) memcpy(&bits, &logit, sizeof bits);
  return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}
DELTAPORT_INLINE float logit_of(uint32_t rank) {
  const uint32_t bits = rank & 0x80000000 ? rank & 0x7FFFFFFF : ~rank;
  float logit;
  memcpy(&logit, &bits, sizeof logit);
  return logit;
}

struct RankedExpert {
  uint32_t rank, expert;
};

}  // namespace deltaport::DELTAPORT_ISA
