// What changes the scores of tokens before one is chosen, as functions of one row.
//
// The maths, the order and the treatment of equal scores are those of transformers 5.23
// (generation/logits_process.py), in float64 where that has float32. The penalties of the OpenAI
// API come between. In order:
//
// 1. on all scores [V], in place: repetition, presence and frequency penalties, bias, bans;
// 2. when sampling: temperature, then the filters top-k, top-p, min-p and typical.
//
// A filter takes the scores [n] of the tokens that are left, finite and by ascending id, n at least
// 1, and returns the indices of those that stay, ascending: at least one.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace deltaport {

using Ids = std::vector<int64_t>;
using Scores = std::vector<double>;

// The index of the largest of `scores` [n], n at least 1; of equals the first. A NaN counts as
// largest.
int64_t largest_index(std::span<const float> scores);
int64_t largest_index(std::span<const double> scores);

// Divides positive scores [V] of the tokens `seen`, each named once, by `penalty` and multiplies
// negative ones by it. Keskar et al., CTRL (arXiv 1909.05858); transformers'
// RepetitionPenaltyLogitsProcessor.
void penalize_repetition(std::span<double> scores, std::span<const int64_t> seen, double penalty);

// Subtracts `presence` + counts[i] * `frequency` from the scores [V] of token ids[i], which was
// seen counts[i] times.
void penalize_presence_and_frequency(std::span<double> scores, std::span<const int64_t> ids,
                                     std::span<const int64_t> counts, double presence,
                                     double frequency);

// Adds to the scores [V] of tokens, given by their ids, what is paired with them.
void add_bias(std::span<double> scores, std::span<const std::pair<int64_t, double>> biases);

// Gives the tokens `ids` no chance: their scores [V] become -inf.
void ban(std::span<double> scores, std::span<const int64_t> ids);
// The same for all tokens that the mask `allowed` [V] leaves out.
void ban_all_but(std::span<double> scores, const bool* allowed);

// Divides scores [n] by `temperature` > 0, shifted so that the largest, which is finite, is 0.
// Probabilities do not see the shift, and however cold it is nothing overflows but to -inf.
void apply_temperature(std::span<double> scores, double temperature);

// The `k` largest, k at least 1, and whatever equals the last of them. Scores may be -inf.
Ids in_top_k(std::span<const float> scores, int64_t k);
Ids in_top_k(std::span<const double> scores, int64_t k);

// The fewest of the most likely tokens whose probabilities reach `p`. Holtzman et al., nucleus
// sampling (arXiv 1904.09751). From the least likely on, tokens go as long as their sum does not
// exceed 1 - p. Of equals higher ids go first, where torch's sorting leaves it open.
Ids in_top_p(std::span<const double> scores, double p);

// Tokens at least `p` times as likely as the most likely one (arXiv 2407.01082).
Ids in_min_p(std::span<const double> scores, double p);

// Tokens whose surprise is nearest the expected one, until their probabilities reach `p`. Meister
// et al., locally typical sampling (arXiv 2202.00666). Whatever is as near as the last one stays
// too.
Ids in_typical_p(std::span<const double> scores, double p);

// Probabilities [n] of scores [n], whose largest is finite.
Scores softmax(Scores scores);

}  // namespace deltaport
