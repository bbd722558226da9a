// Rows of a session that are continued together; they join and leave between steps.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "sampler.h"
#include "session.h"

namespace deltaport {

// Why a row's last token is the last.
enum class FinishReason { none, length, end_token };

struct GeneratedToken {
  int64_t row;
  int64_t token;
  std::optional<LogProbabilities> logprobs;  // if asked for
  FinishReason finish_reason;
};

// What a row is to continue, and how.
struct Request {
  int64_t row;
  std::vector<int64_t> prompt;  // empty: from where it is
  SamplingParams params;
};

class Generation {
 public:
  // `chunk` bounds the tokens a row runs per step; 0: as it suits. The session must outlive it.
  explicit Generation(Session& session, int64_t chunk = 0);

  // Appends prompts and continues their rows from the next step on: all of them or none. A row
  // without any token has nothing to continue and does not become live. Throws InputError or
  // CapacityError and changes nothing.
  void start(std::vector<Request> requests);
  void cancel(int64_t row);  // let it end here, or have ended
  std::vector<int64_t> live() const;

  // One step and the new token of every row that has one. Where it throws no row has gone on, and it
  // can be repeated.
  std::vector<GeneratedToken> step();

  // The parts of a step, for callers with something to do between them. Run the rows that wait;
  void run();
  // which rows can have a token now (rows that were to be read only end instead);
  std::vector<int64_t> ready();
  // the token that comes next, of those `allowed` [V] unless that is null; nothing changes;
  int64_t pick(int64_t row, const bool* allowed = nullptr) const;
  // and make it the row's next one.
  GeneratedToken go_on(int64_t row, int64_t token);

 private:
  struct Sequence {
    Sampler sampler;
    std::vector<int64_t> ends;  // sorted
    std::optional<int64_t> logprobs;
    int64_t limit;   // most new tokens
    bool promised;   // whether there must be room for so many
    int64_t count;   // new tokens so far
    int64_t length;  // tokens of the row
    uint64_t epoch;
  };

  Sequence sequence(const Request& request) const;
  const Sequence& untouched(int64_t row) const;

  Session& session_;
  int64_t chunk_;
  std::map<int64_t, Sequence> live_;
};

}  // namespace deltaport
