// Choosing the tokens of one sequence.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "sampling_params.h"

namespace deltaport {

// The largest of a row of logits, of equals the first; a NaN counts as largest.
struct Largest {
  int64_t index;
  float value;
};
Largest largest(std::span<const float> logits);

// Picks tokens by `params`, remembering what came before. What it picks depends on the logits, the
// sequence's own tokens and the seed, and on nothing else.
class Sampler {
 public:
  // `prompt`: the tokens before the first new one; `ends`: ids that are banned until min_new_tokens
  // have come. All token ids, those of `params` too, are below `vocab_size`.
  Sampler(SamplingParams params, int64_t vocab_size, std::span<const int64_t> prompt,
          std::span<const int64_t> ends);

  // The next token after `logits` [V], which hold no NaN and whose largest is finite. `allowed` is
  // null or a mask [V]. Changes nothing: the same again until add. Throws InputError where bans
  // leave nothing to choose, or the logits are not of the vocabulary.
  int64_t pick(std::span<const float> logits, const bool* allowed = nullptr) const;
  // Whether pick gives the largest logit now, unless not all are allowed: for callers that know it.
  bool takes_largest() const;
  void add(int64_t token);  // the sequence goes on with it
  std::span<const int64_t> new_tokens() const;

 private:
  template <typename Score>
  int64_t choose(std::span<const Score> scores) const;
  void see(int64_t token);
  bool takes_logits() const;  // as they are: no penalty, bias or ban applies now
  std::span<const int64_t> banned() const;

  SamplingParams params_;
  int64_t vocab_size_;
  uint64_t seed_;
  std::vector<int64_t> ends_;
  std::vector<int64_t> new_;
  std::vector<int64_t> counts_;    // [V], of new tokens, where a penalty counts them
  std::vector<int64_t> counted_;   // those with counts, each once
  std::vector<bool> seen_;         // [V], prompt and new, where the repetition penalty is on
  std::vector<int64_t> seen_ids_;  // those that are seen, each once
};

// The number in [0, 1) that chooses new token `index`: Philox4x64-10, key (seed, 0), counter
// (index + 1, 0, 0, 0), upper 53 bits of the first word.
double uniform(uint64_t seed, uint64_t index);

struct LogProbabilities {
  double chosen;
  std::vector<std::pair<int64_t, double>> top;  // the most likely first, equals by id
};
// Of `token` and of the `count` most likely tokens: natural logarithms of the softmax of the
// model's own logits [V], in float64, before penalties, bans and temperature.
LogProbabilities log_probabilities(std::span<const float> logits, int64_t token, int64_t count);

}  // namespace deltaport
