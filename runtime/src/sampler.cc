#include "sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <utility>

#include "errors.h"
#include "logits_processors.h"

namespace deltaport {

namespace {

constexpr double kNoChance = -std::numeric_limits<double>::infinity();

// The first word of the block of Philox4x64-10 (Salmon et al., SC 2011) for the key (key, 0) and
// the counter (counter, 0, 0, 0).
uint64_t philox(uint64_t key, uint64_t counter) {
  __extension__ using uint128_t = unsigned __int128;
  uint64_t keys[2] = {key, 0};
  uint64_t words[4] = {counter, 0, 0, 0};
  for (int round = 0; round < 10; ++round) {
    const uint128_t first = static_cast<uint128_t>(0xD2E7470EE14C6C93) * words[0];
    const uint128_t second = static_cast<uint128_t>(0xCA5A826395121157) * words[2];
    words[0] = static_cast<uint64_t>(second >> 64) ^ words[1] ^ keys[0];
    words[1] = static_cast<uint64_t>(second);
    words[2] = static_cast<uint64_t>(first >> 64) ^ words[3] ^ keys[1];
    words[3] = static_cast<uint64_t>(first);
    keys[0] += 0x9E3779B97F4A7C15;
    keys[1] += 0xBB67AE8584CAA73B;
  }
  return words[0];
}

uint64_t fresh_seed() {
  std::random_device device;
  return std::uniform_int_distribution<uint64_t>()(device);
}

// Tokens that may be chosen, by ascending id.
struct Candidates {
  Ids ids;
  Scores scores;

  // Leaves those at the indices `stay`, which ascend.
  void keep(const Ids& stay) {
    for (size_t i = 0; i < stay.size(); ++i) {
      ids[i] = ids[stay[i]];
      scores[i] = scores[stay[i]];
    }
    ids.resize(stay.size());
    scores.resize(stay.size());
  }

  void drop_impossible() {
    size_t kept = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (scores[i] == kNoChance) continue;
      ids[kept] = ids[i];
      scores[kept] = scores[i];
      ++kept;
    }
    ids.resize(kept);
    scores.resize(kept);
  }
};

// One token by its probability, from those that all filters leave of the `scores` [V]: the one at
// `share` of the sum of their probabilities.
template <typename Score>
int64_t draw(const SamplingParams& params, std::span<const Score> scores, double share) {
  const auto size = static_cast<int64_t>(scores.size());
  // Temperature does not change who is largest, and is quicker on the few that are left.
  Candidates left{in_top_k(scores, params.top_k > 0 ? params.top_k : size), {}};
  left.scores.reserve(left.ids.size());
  for (const int64_t id : left.ids) left.scores.push_back(scores[id]);
  apply_temperature(left.scores, params.temperature);
  left.drop_impossible();
  if (params.top_p < 1) left.keep(in_top_p(left.scores, params.top_p));
  if (params.min_p > 0) left.keep(in_min_p(left.scores, params.min_p));
  if (params.typical_p < 1) left.keep(in_typical_p(left.scores, params.typical_p));
  Scores sums = softmax(std::move(left.scores));
  std::partial_sum(sums.begin(), sums.end(), sums.begin());
  const auto chosen = std::upper_bound(sums.begin(), sums.end(), share * sums.back());
  // Rounding may put the share at the very end.
  return left.ids[std::min<size_t>(chosen - sums.begin(), left.ids.size() - 1)];
}

}  // namespace

Largest largest(std::span<const float> logits) {
  const int64_t index = largest_index(logits);
  return {index, logits[index]};
}

Sampler::Sampler(SamplingParams params, int64_t vocab_size, std::span<const int64_t> prompt,
                 std::span<const int64_t> ends)
    : params_(std::move(params)),
      vocab_size_(vocab_size),
      seed_(params_.seed ? *params_.seed : fresh_seed()),
      ends_(ends.begin(), ends.end()) {
  if (params_.presence_penalty != 0 || params_.frequency_penalty != 0) counts_.resize(vocab_size);
  if (params_.repetition_penalty != 1) {
    seen_.resize(vocab_size);
    for (const int64_t token : prompt) see(token);
  }
}

std::span<const int64_t> Sampler::banned() const {
  const bool may_end = static_cast<int64_t>(new_.size()) >= params_.min_new_tokens;
  return may_end ? std::span<const int64_t>() : ends_;
}

bool Sampler::takes_logits() const {
  return seen_ids_.empty() && counted_.empty() && params_.logit_bias.empty() &&
         banned().empty() && params_.suppress_tokens.empty();
}

bool Sampler::takes_largest() const { return params_.temperature == 0 && takes_logits(); }

int64_t Sampler::pick(std::span<const float> logits, const bool* allowed) const {
  if (static_cast<int64_t>(logits.size()) != vocab_size_) {
    throw InputError("logits are of shape [" + std::to_string(logits.size()) + "], expected [" +
                     std::to_string(vocab_size_) + "], the vocabulary");
  }
  if (takes_logits() && allowed == nullptr) return choose(logits);
  Scores scores(logits.begin(), logits.end());
  penalize_repetition(scores, seen_ids_, params_.repetition_penalty);
  std::vector<int64_t> counts;
  for (const int64_t token : counted_) counts.push_back(counts_[token]);
  penalize_presence_and_frequency(scores, counted_, counts, params_.presence_penalty,
                                  params_.frequency_penalty);
  add_bias(scores, params_.logit_bias);
  ban(scores, banned());
  ban(scores, params_.suppress_tokens);
  if (allowed != nullptr) ban_all_but(scores, allowed);
  return choose(std::span<const double>(scores));
}

template <typename Score>
int64_t Sampler::choose(std::span<const Score> scores) const {
  const int64_t top = largest_index(scores);
  if (scores[top] == kNoChance) {
    throw InputError(
        "no token is left to choose: allowed_tokens, suppress_tokens, logit_bias and "
        "min_new_tokens ban all; allow at least one");
  }
  return params_.temperature == 0 ? top : draw(params_, scores, uniform(seed_, new_.size()));
}

void Sampler::add(int64_t token) {
  new_.push_back(token);
  if (!counts_.empty() && counts_[token]++ == 0) counted_.push_back(token);
  if (!seen_.empty()) see(token);
}

void Sampler::see(int64_t token) {
  if (!seen_[token]) seen_ids_.push_back(token);
  seen_[token] = true;
}

std::span<const int64_t> Sampler::new_tokens() const { return new_; }

double uniform(uint64_t seed, uint64_t index) {
  return static_cast<double>(philox(seed, index + 1) >> 11) * 0x1p-53;
}

LogProbabilities log_probabilities(std::span<const float> logits, int64_t token, int64_t count) {
  const double largest = logits[largest_index(logits)];
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  const double total = largest + std::log(sum);
  LogProbabilities found{logits[token] - total, {}};
  if (count == 0) return found;
  Ids top = in_top_k(logits, count);
  std::erase_if(top, [&](int64_t id) { return logits[id] == kNoChance; });
  std::stable_sort(top.begin(), top.end(),
                   [&](int64_t a, int64_t b) { return logits[a] > logits[b]; });
  top.resize(std::min(top.size(), static_cast<size_t>(count)));
  for (const int64_t id : top) found.top.emplace_back(id, logits[id] - total);
  return found;
}

}  // namespace deltaport
