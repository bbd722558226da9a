// Which experts a token is given to. Plain scalar code, for any compiler and machine.
#pragma once

#include <cstdint>

namespace deltaport {

// The top_k largest of `logits`, ties to the lower index, into chosen[top_k], in ascending order
// of expert; returns the largest logit. Needs 1 <= top_k <= experts. With NaN among them some
// top_k different experts are chosen and NaN is returned, so that every weight becomes NaN.
static inline float choose_experts(const float* logits, int64_t experts, int64_t top_k,
                                   int32_t* chosen) {
  // chosen[0, n) holds the best so far, best first.
  bool any_nan = false;
  int64_t n = 0;
  for (int64_t e = 0; e < experts; ++e) {
    const float logit = logits[e];
    any_nan |= logit != logit;
    if (n == top_k && !(logit > logits[chosen[n - 1]])) continue;
    int64_t at = n < top_k ? n++ : n - 1;
    for (; at > 0 && logit > logits[chosen[at - 1]]; --at) chosen[at] = chosen[at - 1];
    chosen[at] = static_cast<int32_t>(e);
  }
  const float largest = logits[chosen[0]];
  for (int64_t i = 1; i < top_k; ++i) {
    const int32_t expert = chosen[i];
    int64_t at = i;
    for (; at > 0 && chosen[at - 1] > expert; --at) chosen[at] = chosen[at - 1];
    chosen[at] = expert;
  }
  return any_nan ? __builtin_nanf("") : largest;
}

}  // namespace deltaport
