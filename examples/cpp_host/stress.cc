// Many sessions on one engine, each in a thread of its own that does at random what a session can
// do, while another thread cancels their steps. Whatever happens around it, a sequence must yield
// the tokens that it yields alone. Meant for sanitizers; needs an engine whose results are exact.
//
// usage: stress ENGINE [--rounds N] [--threads N] [--seed N] [--onnxruntime PATH]

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deltaport/deltaport.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPrompts = 12;
constexpr int64_t kMostNew = 40;
constexpr size_t kMostRows = 6;
constexpr int64_t kContext = 256;
constexpr size_t kMostSnapshots = 8;

using Ids = std::vector<int64_t>;
using Random = std::mt19937_64;

size_t below(Random& random, size_t bound) { return random() % bound; }

// A prompt, how it is continued, and what that gives alone.
struct Story {
  Ids prompt;
  bool greedy;
  uint64_t seed;
  Ids expected;
};

// Tokens beyond the prompt that a row is known to have.
struct Place {
  size_t story;
  size_t count;
};

struct Saved {
  deltaport::Snapshot snapshot;
  Place place;
};

// What all threads share.
struct Shared {
  const deltaport::Engine* engine;
  int64_t last_id;  // of the vocabulary; a toy engine's is poison to it
  deltaport::PrefixCache prefixes{20'000, 8};  // some prompts, not all
  std::vector<Story> stories;
  std::mutex mutex;  // of all below
  std::vector<std::shared_ptr<const Saved>> saved;
  std::map<size_t, deltaport::Session*> open;  // by thread: whom to cancel
  std::string problem;
  std::atomic<size_t> running = 0;
  std::atomic<size_t> cancelled = 0;
  std::atomic<size_t> tokens = 0;
  std::atomic<size_t> rewound = 0;
};

deltaport_sampling_params params_of(const Story& story, const Shared& shared, size_t count) {
  deltaport_sampling_params params = deltaport::sampling_params();
  params.max_new_tokens = kMostNew - static_cast<int64_t>(count);
  params.ignore_eos = 1;
  params.suppress_tokens = &shared.last_id;
  params.suppress_count = 1;
  if (!story.greedy) {
    params.temperature = 2.0;
    params.has_seed = 1;
    params.seed = story.seed;
  }
  return params;
}

class Worker {
 public:
  Worker(Shared& shared, size_t number, uint64_t seed)
      : shared_(shared), number_(number), random_(seed + number) {}
  ~Worker() { retire(); }  // also where a check has failed: nobody may cancel it then
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void run(size_t rounds) {
    for (size_t round = 0; round < rounds; ++round) {
      reopen();
      for (size_t act = 0; act < 150; ++act) do_something();
      while (generation_->live() > 0) step();
    }
  }

 private:
  void reopen() {
    retire();
    auto made = std::make_unique<deltaport::Session>(*shared_.engine, below(random_, 3), kContext);
    if (below(random_, 3) > 0) made->use_prefixes(shared_.prefixes);
    const std::lock_guard lock(shared_.mutex);
    session_ = std::move(made);
    shared_.open[number_] = session_.get();
    // Some read long prompts in pieces.
    generation_.emplace(*session_, below(random_, 2) * 7);
  }

  // Ends the session; half of the time before the generation that is in it.
  void retire() {
    if (session_ == nullptr) return;
    const std::lock_guard lock(shared_.mutex);
    shared_.open.erase(number_);
    if (below(random_, 2) == 0) session_.reset();
    generation_.reset();
    session_.reset();
    live_.clear();
  }

  void do_something() {
    switch (below(random_, 13)) {
      case 0: return start();
      case 1: return fork();
      case 2: return save();
      case 3: return restore();
      case 4: return drop();
      case 5: return prefill();
      case 6: return rewind();
      default: return step();
    }
  }

  // Continues a row that is at `place`; its prompt, if it is to have one, comes first.
  void go_on(int64_t row, Place place, const Ids& prompt) {
    const Story& story = shared_.stories[place.story];
    if (place.count == kMostNew) return session_->close_row(row);
    generation_->start(row, prompt, params_of(story, shared_, place.count));
    live_[row] = place;
  }

  void start() {
    if (live_.size() >= kMostRows) return;
    const size_t story = below(random_, kPrompts);
    go_on(session_->open_row(), {story, 0}, shared_.stories[story].prompt);
  }

  // A live row, greedy: one that samples goes on differently when it is started anew.
  std::optional<int64_t> some_row() {
    if (live_.empty()) return {};
    const auto found = std::next(live_.begin(), below(random_, live_.size()));
    if (!shared_.stories[found->second.story].greedy) return {};
    return found->first;
  }

  void fork() {
    const auto row = some_row();
    if (!row || live_.size() >= kMostRows) return;
    const Place place = live_.at(*row);
    go_on(session_->fork(*row), place, {});
  }

  void save() {
    const auto row = some_row();
    if (!row) return;
    auto made = std::make_shared<const Saved>(Saved{session_->snapshot(*row), live_.at(*row)});
    const std::lock_guard lock(shared_.mutex);
    if (shared_.saved.size() < kMostSnapshots) shared_.saved.emplace_back();
    shared_.saved[below(random_, shared_.saved.size())].swap(made);
  }

  // Goes on from what any thread saved, in a new row or in place of a live one.
  void restore() {
    std::shared_ptr<const Saved> found;
    {
      const std::lock_guard lock(shared_.mutex);
      if (shared_.saved.empty()) return;
      found = shared_.saved[below(random_, shared_.saved.size())];
    }
    if (found == nullptr) return;
    int64_t row = 0;
    if (live_.size() < kMostRows) {
      row = session_->open_row();
    } else {
      row = live_.begin()->first;
      generation_->cancel(row);
      live_.erase(row);
    }
    session_->restore(row, found->snapshot);
    go_on(row, found->place, {});
  }

  // Lets a row go on from earlier, if anything covers that.
  void rewind() {
    const auto row = some_row();
    if (!row) return;
    Place place = live_.at(*row);
    place.count = below(random_, place.count + 1);
    std::vector<std::shared_ptr<const Saved>> saved;
    {
      const std::lock_guard lock(shared_.mutex);
      saved = shared_.saved;
    }
    std::vector<const deltaport_snapshot*> snapshots;
    for (const auto& some : saved) {
      if (some != nullptr) snapshots.push_back(some->snapshot.get());
    }
    const size_t count = shared_.stories[place.story].prompt.size() + place.count;
    try {
      session_->rewind(*row, static_cast<int64_t>(count), snapshots);
    } catch (const deltaport::CancelledError&) {
      ++shared_.cancelled;
      return;
    } catch (const deltaport::InputError&) {
      return;
    }
    ++shared_.rewound;
    generation_->cancel(*row);
    live_.erase(*row);
    go_on(*row, place, {});
  }

  void drop() {
    if (live_.empty()) return;
    const int64_t row = std::next(live_.begin(), below(random_, live_.size()))->first;
    generation_->cancel(row);
    session_->close_row(row);
    live_.erase(row);
  }

  // By hand what start does, tried until nobody cancels it.
  void prefill() {
    if (live_.size() >= kMostRows) return;
    const Story& story = shared_.stories[0];
    const int64_t row = session_->open_row();
    for (;;) {
      const Ids held = session_->tokens(row);
      const Ids left(story.prompt.begin() + held.size(), story.prompt.end());
      try {
        if (!left.empty()) session_->prefill(row, left);
        break;
      } catch (const deltaport::CancelledError&) {
        ++shared_.cancelled;
      }
    }
    expect(session_->length(row) == static_cast<int64_t>(story.prompt.size()), "a length is wrong");
    go_on(row, {0, 0}, {});
  }

  void step() {
    std::span<const deltaport_event> events;
    try {
      events = generation_->step();
    } catch (const deltaport::CancelledError&) {
      ++shared_.cancelled;
      return;
    }
    for (const deltaport_event& event : events) {
      Place& place = live_.at(event.row);
      const Ids& expected = shared_.stories[place.story].expected;
      expect(event.token == expected[place.count++], "a token is not what the sequence has alone");
      ++shared_.tokens;
      const bool last = place.count == kMostNew;
      expect((event.finish_reason == DELTAPORT_LENGTH) == last, "a sequence ends too soon or late");
      if (!last) continue;
      session_->close_row(event.row);
      live_.erase(event.row);
    }
  }

  static void expect(bool holds, const char* otherwise) {
    if (!holds) throw std::runtime_error(otherwise);
  }

  Shared& shared_;
  size_t number_;
  Random random_;
  std::unique_ptr<deltaport::Session> session_;
  std::optional<deltaport::Generation> generation_;
  std::map<int64_t, Place> live_;
};

Ids alone(const Shared& shared, const Story& story) {
  deltaport::Session session(*shared.engine, 1, kContext);
  deltaport::Generation generation(session);
  generation.start(0, story.prompt, params_of(story, shared, 0));
  Ids tokens;
  while (generation.live() > 0) {
    for (const deltaport_event& event : generation.step()) tokens.push_back(event.token);
  }
  return tokens;
}

void cancel_some(Shared& shared, uint64_t seed) {
  Random random(seed);
  while (shared.running > 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(below(random, 2000)));
    const std::lock_guard lock(shared.mutex);
    if (shared.open.empty()) continue;
    std::next(shared.open.begin(), below(random, shared.open.size()))->second->cancel();
  }
}

struct Arguments {
  std::string engine;
  std::string onnxruntime;
  size_t rounds = 20;
  size_t threads = 4;
  uint64_t seed = 1;
};

Arguments parse(int count, char** words) {
  Arguments found;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    const bool is_option = word.starts_with("--");
    if (is_option && i + 1 == count) throw std::runtime_error(word + " needs a value");
    if (!is_option) found.engine = word;
    else if (word == "--rounds") found.rounds = std::stoull(words[++i]);
    else if (word == "--threads") found.threads = std::stoull(words[++i]);
    else if (word == "--seed") found.seed = std::stoull(words[++i]);
    else if (word == "--onnxruntime") found.onnxruntime = words[++i];
    else throw std::runtime_error(word + " is no option");
  }
  if (found.engine.empty()) throw std::runtime_error("stress ENGINE [--rounds N] ...");
  return found;
}

void run(const Arguments& arguments) {
  deltaport_engine_options options = deltaport::engine_options();
  options.threads = 1;
  if (!arguments.onnxruntime.empty()) options.onnxruntime = arguments.onnxruntime.c_str();
  auto engine = std::make_unique<deltaport::Engine>(arguments.engine, options);

  Shared shared;
  shared.engine = engine.get();
  shared.last_id = engine->vocab_size() - 1;
  Random random(arguments.seed);
  for (size_t i = 0; i < kPrompts; ++i) {
    Story story{{}, i % 3 != 2, random(), {}};
    const size_t length = 1 + below(random, 60);
    for (size_t t = 0; t < length; ++t) story.prompt.push_back(below(random, shared.last_id));
    story.expected = alone(shared, story);
    shared.stories.push_back(std::move(story));
  }

  shared.running = arguments.threads;
  std::vector<std::thread> threads;
  for (size_t number = 0; number < arguments.threads; ++number) {
    threads.emplace_back([&shared, &arguments, number] {
      try {
        Worker(shared, number, arguments.seed).run(arguments.rounds);
      } catch (const std::exception& error) {
        const std::lock_guard lock(shared.mutex);
        shared.problem = error.what();
      }
      --shared.running;
    });
  }
  cancel_some(shared, arguments.seed);
  for (std::thread& thread : threads) thread.join();
  if (!shared.problem.empty()) throw std::runtime_error(shared.problem);

  // A session keeps its engine.
  deltaport::Session last(*engine, 1, kContext);
  engine.reset();
  last.prefill(0, shared.stories[0].prompt);
  const deltaport::PrefixUsage usage = shared.prefixes.usage();
  std::printf("%zu tokens as expected, %zu steps cancelled, %zu rows wound back, %zu prefixes used\n",
              shared.tokens.load(), shared.cancelled.load(), shared.rewound.load(),
              static_cast<size_t>(usage.hits));
}

}  // namespace

int main(int count, char** words) {
  try {
    run(parse(count, words));
#ifdef __SANITIZE_THREAD__
    // All of ours is over. ONNX Runtime's destructors go on to confuse the sanitizer, which was not
    // there when the library was built.
    std::fflush(stdout);
    std::_Exit(0);
#endif
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
}
