#include "sampling_params.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>

#include "errors.h"

namespace deltaport {

namespace {

// Bound of penalties, biases and temperatures: beyond any use, and far from overflowing.
constexpr double kLargest = 1e6;

// As Python writes floats in its errors: the fewest digits that give the same number.
std::string text_of(double value) {
  char digits[32];
  const double size = std::abs(value);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto end = std::to_chars(digits, digits + sizeof digits, value,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(digits, end.ptr);
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string bound_of(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

// Throws where `value` is not from `least` to `most`, or with `above` is `least`; NaN never is.
void check_number(const std::string& name, double value, double least, double most,
                  bool above = false) {
  if (value >= least && value <= most && !(above && value == least)) return;
  throw InputError(name + " is " + text_of(value) + ", expected a number, " +
                   (above ? "above " + bound_of(least) + ", at most " + bound_of(most)
                          : bound_of(least) + " to " + bound_of(most)));
}

void check_not_negative(const std::string& name, int64_t value) {
  if (value >= 0) return;
  throw InputError(name + " is " + std::to_string(value) + ", expected an integer, at least 0");
}

}  // namespace

void check_token_ids(const std::string& name, std::span<const int64_t> ids, int64_t vocab_size) {
  for (size_t at = 0; at < ids.size(); ++at) {
    if (ids[at] >= 0 && ids[at] < vocab_size) continue;
    throw InputError(name + ", token " + std::to_string(at) + ": " + std::to_string(ids[at]) +
                     " is not a token id below " + std::to_string(vocab_size));
  }
}

void SamplingParams::check(int64_t vocab_size) const {
  if (max_new_tokens) check_not_negative("max_new_tokens", *max_new_tokens);
  check_not_negative("min_new_tokens", min_new_tokens);
  check_number("temperature", temperature, 0, kLargest);
  check_not_negative("top_k", top_k);
  check_number("top_p", top_p, 0, 1);
  check_number("min_p", min_p, 0, 1);
  check_number("typical_p", typical_p, 0, 1, true);
  check_number("repetition_penalty", repetition_penalty, 0, kLargest, true);
  check_number("presence_penalty", presence_penalty, -kLargest, kLargest);
  check_number("frequency_penalty", frequency_penalty, -kLargest, kLargest);
  std::vector<int64_t> biased;
  for (const auto& [token, bias] : logit_bias) {
    biased.push_back(token);
    if (bias == -std::numeric_limits<double>::infinity()) continue;
    check_number("logit_bias[" + std::to_string(token) + "]", bias, -kLargest, kLargest);
  }
  check_token_ids("logit_bias", biased, vocab_size);
  check_token_ids("suppress_tokens", suppress_tokens, vocab_size);
  check_token_ids("stop_token_ids", stop_token_ids, vocab_size);
  if (logprobs && (*logprobs < 0 || *logprobs > vocab_size)) {
    throw InputError("logprobs is " + std::to_string(*logprobs) + ", expected an integer, 0 to " +
                     std::to_string(vocab_size));
  }
}

}  // namespace deltaport
