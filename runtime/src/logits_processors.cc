#include "logits_processors.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

// For loops that only read a vocabulary: when the library is loaded, the body that suits the
// machine is chosen. Sanitizers are not yet set up at that time.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define DELTAPORT_VECTORISED __attribute__((target_clones("avx2", "default")))
#else
#define DELTAPORT_VECTORISED
#endif
// A body compiled for an instruction set must not call what is compiled for another.
#define DELTAPORT_INLINE inline __attribute__((always_inline))

namespace deltaport {

namespace {

// Scores that are looked at together. Few enough to be in the first-level cache the second time.
constexpr size_t kBlock = 2048;
// Maxima that are kept side by side. GCC takes loops of 16 apart and then finds no vectors in them.
constexpr size_t kLanes = 32;
// Of the tokens a filter looks at, how many it sorts at first; more come eightfold.
constexpr int64_t kFirstGuess = 256;
// Scores of which only the largest is looked at to find a bound for the largest of all.
constexpr size_t kColumn = 64;

template <typename Score>
constexpr Score kLowest = -std::numeric_limits<Score>::infinity();

template <typename Score>
struct Block {
  Score largest;
  bool has_nan;
};

template <typename Score>
DELTAPORT_INLINE Block<Score> look_at(const Score* scores, size_t n) {
  Score largest[kLanes];
  int nan[kLanes] = {};
  for (Score& lane : largest) lane = kLowest<Score>;
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const Score score = scores[i + lane];
      largest[lane] = score > largest[lane] ? score : largest[lane];
      nan[lane] |= score != score;
    }
  }
  for (size_t lane = 0; i < n; ++i, ++lane) {
    largest[lane] = scores[i] > largest[lane] ? scores[i] : largest[lane];
    nan[lane] |= scores[i] != scores[i];
  }
  Block<Score> block{largest[0], nan[0] != 0};
  for (size_t lane = 1; lane < kLanes; ++lane) {
    block.largest = largest[lane] > block.largest ? largest[lane] : block.largest;
    block.has_nan = block.has_nan || nan[lane] != 0;
  }
  return block;
}

template <typename Score>
DELTAPORT_INLINE int64_t find_largest(const Score* scores, size_t n) {
  Score largest = kLowest<Score>;
  size_t at = 0;
  for (size_t start = 0; start < n; start += kBlock) {
    const Block<Score> block = look_at(scores + start, n - start < kBlock ? n - start : kBlock);
    if (block.has_nan) {
      at = start;
      while (scores[at] == scores[at]) ++at;
      return static_cast<int64_t>(at);
    }
    if (block.largest > largest) {
      largest = block.largest;
      at = start;
    }
  }
  while (scores[at] != largest) ++at;
  return static_cast<int64_t>(at);
}

// Makes bounds[i] the larger of itself and scores[i].
template <typename Score>
DELTAPORT_INLINE void raise(Score* __restrict bounds, const Score* __restrict scores, size_t n) {
  for (size_t i = 0; i < n; ++i) bounds[i] = scores[i] > bounds[i] ? scores[i] : bounds[i];
}
DELTAPORT_VECTORISED void raise_to(float* bounds, const float* scores, size_t n) {
  raise(bounds, scores, n);
}
DELTAPORT_VECTORISED void raise_to(double* bounds, const double* scores, size_t n) {
  raise(bounds, scores, n);
}

Ids all(size_t n) {
  Ids ids(n);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

template <typename Score>
Ids at_least(std::span<const Score> scores, Score bound) {
  Ids ids;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] >= bound) ids.push_back(static_cast<int64_t>(i));
  }
  return ids;
}

// The `k`-th largest, 1 <= k <= n, of equals each counted. Changes the order.
template <typename Score>
Score kth_largest(std::vector<Score>& scores, int64_t k) {
  std::nth_element(scores.begin(), scores.begin() + (k - 1), scores.end(), std::greater<>());
  return scores[k - 1];
}

// Cut into columns, whose largest are quickly found: the `k`-th largest of these has `k` scores
// that are no smaller, so that only what is no smaller either need be parted.
template <typename Score>
Ids find_top_k(std::span<const Score> scores, int64_t k) {
  if (k >= static_cast<int64_t>(scores.size())) return all(scores.size());
  const size_t columns = scores.size() / kColumn;
  Score bound = kLowest<Score>;
  if (k <= static_cast<int64_t>(columns)) {
    std::vector<Score> largest(columns, kLowest<Score>);
    for (size_t row = 0; row < kColumn; ++row) {
      raise_to(largest.data(), scores.data() + row * columns, columns);
    }
    bound = kth_largest(largest, k);
  }
  Ids ids = at_least(scores, bound);
  std::vector<Score> found(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) found[i] = scores[ids[i]];
  const Score last = kth_largest(found, k);
  std::erase_if(ids, [&](int64_t id) { return scores[id] < last; });
  return ids;
}

double largest_of(std::span<const double> scores) {
  return scores[largest_index(scores)];
}

double sum_of(std::span<const double> values, const Ids& ids) {
  double sum = 0;
  for (const int64_t id : ids) sum += values[id];
  return sum;
}

// The indices of the largest `keys`, the largest first and equals by index: enough for their
// `weights` to reach `mass`. Equal keys are in it together. A vocabulary has a quarter of a million
// tokens and a distribution mostly a few dozen that count, so parting is much quicker than sorting.
Ids first(std::span<const double> keys, std::span<const double> weights, double mass) {
  int64_t count = kFirstGuess;
  Ids ids;
  do {
    ids = in_top_k(keys, count);
    count *= 8;
  } while (ids.size() < keys.size() && sum_of(weights, ids) < mass);
  std::stable_sort(ids.begin(), ids.end(), [&](int64_t a, int64_t b) { return keys[a] > keys[b]; });
  return ids;
}

}  // namespace

DELTAPORT_VECTORISED int64_t largest_index(std::span<const float> scores) {
  return find_largest(scores.data(), scores.size());
}

DELTAPORT_VECTORISED int64_t largest_index(std::span<const double> scores) {
  return find_largest(scores.data(), scores.size());
}

void penalize_repetition(std::span<double> scores, std::span<const int64_t> seen, double penalty) {
  for (const int64_t id : seen) {
    double& score = scores[id];
    score = score < 0 ? score * penalty : score / penalty;
  }
}

void penalize_presence_and_frequency(std::span<double> scores, std::span<const int64_t> ids,
                                     std::span<const int64_t> counts, double presence,
                                     double frequency) {
  for (size_t i = 0; i < ids.size(); ++i) {
    scores[ids[i]] -= presence + static_cast<double>(counts[i]) * frequency;
  }
}

void add_bias(std::span<double> scores, std::span<const std::pair<int64_t, double>> biases) {
  for (const auto& [id, bias] : biases) scores[id] += bias;
}

void ban(std::span<double> scores, std::span<const int64_t> ids) {
  for (const int64_t id : ids) scores[id] = kLowest<double>;
}

void ban_all_but(std::span<double> scores, const bool* allowed) {
  for (size_t i = 0; i < scores.size(); ++i) {
    scores[i] = allowed[i] ? scores[i] : kLowest<double>;
  }
}

void apply_temperature(std::span<double> scores, double temperature) {
  const double largest = largest_of(scores);
  for (double& score : scores) score = (score - largest) / temperature;
}

Ids in_top_k(std::span<const float> scores, int64_t k) { return find_top_k(scores, k); }

Ids in_top_k(std::span<const double> scores, int64_t k) { return find_top_k(scores, k); }

Ids in_top_p(std::span<const double> scores, double p) {
  const Scores probabilities = softmax({scores.begin(), scores.end()});
  Ids likely = first(scores, probabilities, p);
  const bool are_all = likely.size() == scores.size();
  double sum = are_all ? 0.0 : 1.0 - sum_of(probabilities, likely);
  // The most likely one stays, whatever the sums come to.
  while (likely.size() > 1) {
    sum += probabilities[likely.back()];
    if (sum > 1 - p) break;
    likely.pop_back();
  }
  const int64_t last = likely.back();
  Ids stay = at_least(scores, scores[last]);
  std::erase_if(stay, [&](int64_t id) { return scores[id] == scores[last] && id > last; });
  return stay;
}

Ids in_min_p(std::span<const double> scores, double p) {
  const Scores probabilities = softmax({scores.begin(), scores.end()});
  return at_least<double>(probabilities, p * largest_of(probabilities));
}

Ids in_typical_p(std::span<const double> scores, double p) {
  const Scores probabilities = softmax({scores.begin(), scores.end()});
  const int64_t top = largest_index(scores);
  const double log_total = -std::log(probabilities[top]);
  Scores surprise(scores.size());
  double expected = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    surprise[i] = log_total - (scores[i] - scores[top]);
    expected += probabilities[i] * surprise[i];
  }
  Scores nearness(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) nearness[i] = -std::abs(surprise[i] - expected);
  const Ids near = first(nearness, probabilities, p);
  double sum = 0;
  size_t last = 0;
  for (; last + 1 < near.size(); ++last) {
    sum += probabilities[near[last]];
    if (sum >= p) break;
  }
  return at_least<double>(nearness, nearness[near[last]]);
}

Scores softmax(Scores scores) {
  const double largest = largest_of(scores);
  double total = 0;
  for (double& score : scores) {
    score = std::exp(score - largest);
    total += score;
  }
  for (double& weight : scores) weight /= total;
  return scores;
}

}  // namespace deltaport
