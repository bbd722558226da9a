// Generation in the C layer.

#include "generation.h"

#include <limits>

#include "c_api/handles.h"

using namespace deltaport;
using namespace deltaport::c_api;

namespace {

// Of SamplingParams, so that there is one place for the defaults.
deltaport_sampling_params default_params() {
  const SamplingParams from;
  deltaport_sampling_params made{};
  made.struct_size = sizeof made;
  made.max_new_tokens = from.max_new_tokens.value_or(-1);
  made.min_new_tokens = from.min_new_tokens;
  made.temperature = from.temperature;
  made.top_k = from.top_k;
  made.top_p = from.top_p;
  made.min_p = from.min_p;
  made.typical_p = from.typical_p;
  made.repetition_penalty = from.repetition_penalty;
  made.presence_penalty = from.presence_penalty;
  made.frequency_penalty = from.frequency_penalty;
  made.ignore_eos = from.ignore_eos;
  made.logprobs = from.logprobs.value_or(-1);
  return made;
}

std::vector<int64_t> ids(const int64_t* data, size_t count, const char* name) {
  const std::span given = items(data, count, name);
  return {given.begin(), given.end()};
}

// -1 is none; anything else is left to be checked.
std::optional<int64_t> optional(int64_t value) {
  return value == -1 ? std::nullopt : std::optional(value);
}

SamplingParams params_of(const deltaport_sampling_params* given) {
  if (given == nullptr) return {};
  check_size<deltaport_sampling_params>(given->struct_size, "params");
  SamplingParams made;
  made.max_new_tokens = optional(given->max_new_tokens);
  made.min_new_tokens = given->min_new_tokens;
  made.temperature = given->temperature;
  made.top_k = given->top_k;
  made.top_p = given->top_p;
  made.min_p = given->min_p;
  made.typical_p = given->typical_p;
  made.repetition_penalty = given->repetition_penalty;
  made.presence_penalty = given->presence_penalty;
  made.frequency_penalty = given->frequency_penalty;
  const size_t biases = given->logit_bias_count;
  const std::span biased = items(given->logit_bias_ids, biases, "logit_bias_ids");
  const std::span values = items(given->logit_bias_values, biases, "logit_bias_values");
  for (size_t i = 0; i < biases; ++i) made.logit_bias.emplace_back(biased[i], values[i]);
  made.suppress_tokens = ids(given->suppress_tokens, given->suppress_count, "suppress_tokens");
  made.stop_token_ids = ids(given->stop_token_ids, given->stop_count, "stop_token_ids");
  if (given->has_seed) made.seed = given->seed;
  made.ignore_eos = given->ignore_eos != 0;
  made.logprobs = optional(given->logprobs);
  return made;
}

deltaport_event event_of(const GeneratedToken& token) {
  deltaport_event event{token.row, token.token, std::numeric_limits<double>::quiet_NaN(),
                        DELTAPORT_NOT_FINISHED, 0};
  if (token.logprobs) {
    event.logprob = token.logprobs->chosen;
    event.top_count = static_cast<int32_t>(token.logprobs->top.size());
  }
  if (token.finish_reason == FinishReason::length) event.finish_reason = DELTAPORT_LENGTH;
  if (token.finish_reason == FinishReason::end_token) event.finish_reason = DELTAPORT_END_TOKEN;
  return event;
}

void check_room(size_t capacity, size_t needed) {
  if (capacity >= needed) return;
  throw InputError("capacity is " + std::to_string(capacity) + ", expected at least " +
                   std::to_string(needed));
}

}  // namespace

extern "C" {

deltaport_status deltaport_sampling_params_init(deltaport_sampling_params* params,
                                                size_t struct_size) {
  return guarded([&] {
    need(params, "params");
    check_size<deltaport_sampling_params>(struct_size, "params");
    *params = default_params();
  });
}

deltaport_status deltaport_generation_new(deltaport_session* session, int64_t chunk,
                                          deltaport_generation** generation) {
  return guarded([&] {
    const auto& opened = need(session, "session").session;
    deltaport_generation*& made = need(generation, "generation");
    if (chunk < 0) {
      throw InputError("chunk is " + std::to_string(chunk) + ", expected an integer, at least 0");
    }
    made = new deltaport_generation{opened, Generation(*opened, chunk), {}};
  });
}

deltaport_status deltaport_generation_free(deltaport_generation* generation) {
  return guarded([&] { delete &need(generation, "generation"); });
}

deltaport_status deltaport_generation_start(deltaport_generation* generation,
                                            const deltaport_request* requests, size_t count) {
  return guarded([&] {
    Generation& running = need(generation, "generation").generation;
    std::vector<Request> made;
    std::vector<int64_t> rows;
    for (const deltaport_request& request : items(requests, count, "requests")) {
      made.push_back({request.row, ids(request.prompt, request.prompt_count, "prompt"),
                      params_of(request.params)});
      rows.push_back(request.row);
    }
    check_distinct(std::move(rows));
    running.start(std::move(made));
  });
}

deltaport_status deltaport_generation_cancel(deltaport_generation* generation, int64_t row) {
  return guarded([&] { need(generation, "generation").generation.cancel(row); });
}

deltaport_status deltaport_generation_live(const deltaport_generation* generation, size_t* count) {
  return guarded([&] {
    const Generation& running = need(generation, "generation").generation;
    need(count, "count") = running.live().size();
  });
}

deltaport_status deltaport_generation_step(deltaport_generation* generation,
                                           deltaport_event* events, size_t capacity,
                                           size_t* count) {
  return guarded([&] {
    deltaport_generation& running = need(generation, "generation");
    size_t& found = need(count, "count");
    // Asked before anything runs: a token that there is no room for would be lost.
    const size_t live = running.generation.live().size();
    check_room(capacity, live);
    if (live > 0) need(events, "events");
    running.events = running.generation.step();
    found = running.events.size();
    for (size_t i = 0; i < found; ++i) events[i] = event_of(running.events[i]);
  });
}

deltaport_status deltaport_generation_top_logprobs(const deltaport_generation* generation,
                                                   size_t index, int64_t* tokens,
                                                   double* logprobs, size_t capacity) {
  return guarded([&] {
    const auto& events = need(generation, "generation").events;
    if (index >= events.size()) {
      throw InputError("index is " + std::to_string(index) + ", but the last step gave " +
                       std::to_string(events.size()) + " events");
    }
    if (!events[index].logprobs) return;
    const auto& top = events[index].logprobs->top;
    check_room(capacity, top.size());
    if (!top.empty()) {
      need(tokens, "tokens");
      need(logprobs, "logprobs");
    }
    for (const auto& [token, value] : top) {
      *tokens++ = token;
      *logprobs++ = value;
    }
  });
}

}  // extern "C"
