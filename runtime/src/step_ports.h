// The names of what every decoder takes and gives beside its state, in graph order.
#pragma once

#include <array>
#include <cstddef>

namespace deltaport {

// B rows of T tokens, R of which get logits.
enum StepInput : size_t {
  kInputIds,     // [B,T]
  kPositions,    // [3,B,T]
  kLengths,      // [B]: tokens each row runs, the rest is padding
  kPastLengths,  // [B]: tokens each row's state has seen
  kLogitIndex,   // [R]: of the flattened [B*T]
  kStepInputCount,
};
constexpr std::array<const char*, kStepInputCount> kStepInputs = {
    "input_ids", "positions", "lengths", "past_lengths", "logit_index"};
constexpr const char* kLogits = "logits";  // float32 [R,V], the first output

}  // namespace deltaport
