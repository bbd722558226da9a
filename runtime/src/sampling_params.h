// What a sequence is generated with: the fields, defaults and meaning of Python's SamplingParams.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace deltaport {

struct SamplingParams {
  std::optional<int64_t> max_new_tokens = 128;  // none: as many as the context holds
  int64_t min_new_tokens = 0;
  double temperature = 0.0;  // 0: greedy
  int64_t top_k = 0;         // 0: off
  double top_p = 1.0;
  double min_p = 0.0;
  double typical_p = 1.0;
  double repetition_penalty = 1.0;
  double presence_penalty = 0.0;
  double frequency_penalty = 0.0;
  std::vector<std::pair<int64_t, double>> logit_bias;
  std::vector<int64_t> suppress_tokens;
  std::optional<uint64_t> seed;  // none: a fresh one for each sequence
  std::vector<int64_t> stop_token_ids;
  bool ignore_eos = false;
  std::optional<int64_t> logprobs;

  // Throws InputError naming the field that is out of its range, or that a model of `vocab_size`
  // tokens cannot do.
  void check(int64_t vocab_size) const;
};

// Throws InputError where one of `ids` is not a token id below `vocab_size`; `name` says whose they
// are.
void check_token_ids(const std::string& name, std::span<const int64_t> ids, int64_t vocab_size);

}  // namespace deltaport
