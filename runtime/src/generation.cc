#include "generation.h"

#include <algorithm>
#include <cmath>

#include "errors.h"

namespace deltaport {

Generation::Generation(Session& session, int64_t chunk) : session_(session), chunk_(chunk) {}

Generation::Sequence Generation::sequence(const Request& request) const {
  const Manifest& manifest = session_.engine().manifest();
  const SamplingParams& params = request.params;
  params.check(manifest.vocab_size);
  const Row& row = session_.row(request.row);
  std::vector<int64_t> history = row.tokens;
  history.insert(history.end(), request.prompt.begin(), request.prompt.end());
  const int64_t length = static_cast<int64_t>(history.size());
  const int64_t room = std::max<int64_t>(0, session_.context() - length);
  std::vector<int64_t> ends = params.stop_token_ids;
  if (!params.ignore_eos) {
    ends.insert(ends.end(), manifest.eos_token_ids.begin(), manifest.eos_token_ids.end());
  }
  std::ranges::sort(ends);
  return {Sampler(params, manifest.vocab_size, history, ends),
          ends,
          params.logprobs,
          params.max_new_tokens.value_or(room),
          params.max_new_tokens.has_value(),
          0,
          length,
          row.epoch};
}

void Generation::start(std::vector<Request> requests) {
  std::map<int64_t, Sequence> joining;
  std::vector<RowTokens> given;
  for (Request& request : requests) {
    if (live_.contains(request.row)) {
      throw InputError("row " + std::to_string(request.row) +
                       " is being generated; cancel it first");
    }
    joining.emplace(request.row, sequence(request));
    given.emplace_back(request.row, std::move(request.prompt));
  }
  std::vector<RowCount> follow;
  for (const auto* some : {&live_, &joining}) {
    for (const auto& [row, sequence] : *some) {
      if (sequence.promised) follow.emplace_back(row, sequence.limit - sequence.count);
    }
  }
  session_.append(given, follow, chunk_, true);
  std::erase_if(joining, [&](const auto& item) {
    const Row& started = session_.row(item.first);
    return started.tokens.empty() || (item.second.limit == 0 && !started.is_waiting());
  });
  live_.merge(joining);
}

void Generation::cancel(int64_t row) { live_.erase(row); }

std::vector<int64_t> Generation::live() const {
  std::vector<int64_t> rows;
  for (const auto& [row, sequence] : live_) rows.push_back(row);
  return rows;
}

const Generation::Sequence& Generation::untouched(int64_t row) const {
  const auto found = live_.find(row);
  if (found == live_.end()) {
    throw InputError("row " + std::to_string(row) + " is not being generated; start it first");
  }
  const Sequence& sequence = found->second;
  const bool same = session_.is_open(row) && session_.row(row).epoch == sequence.epoch &&
                    static_cast<int64_t>(session_.row(row).tokens.size()) == sequence.length;
  if (!same) {
    throw InputError("row " + std::to_string(row) +
                     " was changed while it was generated; cancel it and start it again");
  }
  return sequence;
}

void Generation::run() {
  std::vector<int64_t> rows;
  for (const auto& [row, sequence] : live_) {
    untouched(row);
    if (session_.row(row).is_waiting()) rows.push_back(row);
  }
  if (!rows.empty()) session_.step(rows, chunk_, Which::last);
}

std::vector<int64_t> Generation::ready() {
  std::vector<int64_t> rows;
  for (auto next = live_.begin(); next != live_.end();) {
    const auto [row, sequence] = std::tie(next->first, next->second);
    const bool waits = session_.is_open(row) && session_.row(row).is_waiting();
    if (!waits && sequence.limit == 0) {
      next = live_.erase(next);
      continue;
    }
    if (!waits) rows.push_back(row);
    ++next;
  }
  return rows;
}

int64_t Generation::pick(int64_t row, const bool* allowed) const {
  const Sequence& sequence = untouched(row);
  const Row& held = session_.row(row);
  if (!held.has_logits()) {
    throw InputError(
        "row " + std::to_string(row) +
        (held.is_waiting()
             ? " has tokens that were not run; run them first"
             : " has no logits to go on from, as a step failed or was cancelled; append a token"));
  }
  const size_t vocab_size = session_.engine().manifest().vocab_size;
  const std::span logits(held.logits, vocab_size);
  const Largest top = largest(logits);
  if (!std::isfinite(top.value)) {
    throw EngineError(session_.engine().name() + ": the logits of row " + std::to_string(row) +
                      " after " + std::to_string(held.tokens.size()) + " tokens hold " +
                      (std::isnan(top.value) ? "nan" : top.value > 0 ? "inf" : "-inf") +
                      "; the checkpoint's weights do, or they overflow");
  }
  if (allowed == nullptr && sequence.sampler.takes_largest()) return top.index;
  return sequence.sampler.pick(logits, allowed);
}

GeneratedToken Generation::go_on(int64_t row, int64_t token) {
  untouched(row);
  Sequence& sequence = live_.at(row);
  GeneratedToken event{row, token, {}, FinishReason::none};
  if (sequence.logprobs) {
    const size_t vocab_size = session_.engine().manifest().vocab_size;
    const std::span logits(session_.row(row).logits, vocab_size);
    event.logprobs = log_probabilities(logits, token, *sequence.logprobs);
  }
  session_.extend(row, token);
  try {
    sequence.sampler.add(token);
  } catch (...) {
    session_.retract(row, sequence.length);
    throw;
  }
  ++sequence.count;
  ++sequence.length;
  if (std::ranges::binary_search(sequence.ends, token)) {
    event.finish_reason = FinishReason::end_token;
  } else if (sequence.count == sequence.limit) {
    event.finish_reason = FinishReason::length;
  }
  if (event.finish_reason != FinishReason::none) live_.erase(row);
  return event;
}

std::vector<GeneratedToken> Generation::step() {
  run();
  std::vector<std::pair<int64_t, int64_t>> picks;
  for (const int64_t row : ready()) picks.emplace_back(row, pick(row));
  std::vector<GeneratedToken> events;
  for (const auto& [row, token] : picks) events.push_back(go_on(row, token));
  return events;
}

}  // namespace deltaport
