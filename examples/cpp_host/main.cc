// Continues sequences of token ids in one batch and prints each new token as it comes.

#include <charconv>
#include <cstdio>
#include <deltaport/deltaport.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr char kUsage[] =
    "usage: cpp_host ENGINE ids... [-- ids...]... [--new N] [--onnxruntime PATH]";

class UsageError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Arguments {
  std::string engine;
  std::string onnxruntime;
  std::vector<std::vector<int64_t>> prompts{1};
  int64_t most_new = 16;
};

int64_t integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw UsageError("'" + std::string(text) + "' is not an integer; " + kUsage);
  }
  return value;
}

Arguments parse(int count, char** words) {
  Arguments found;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--new" || word == "--onnxruntime") {
      if (i + 1 == count) throw UsageError(word + " needs a value; " + kUsage);
      const char* const value = words[++i];
      if (word == "--new") {
        found.most_new = integer(value);
      } else {
        found.onnxruntime = value;
      }
    } else if (word == "--") {
      found.prompts.emplace_back();
    } else if (found.engine.empty()) {
      found.engine = word;
    } else {
      found.prompts.back().push_back(integer(word));
    }
  }
  if (found.engine.empty()) throw UsageError(kUsage);
  for (const auto& prompt : found.prompts) {
    if (prompt.empty()) throw UsageError(std::string("a sequence has no token; ") + kUsage);
  }
  return found;
}

void run(const Arguments& arguments) {
  deltaport_engine_options options = deltaport::engine_options();
  if (!arguments.onnxruntime.empty()) options.onnxruntime = arguments.onnxruntime.c_str();
  const deltaport::Engine engine(arguments.engine, options);

  deltaport::Session session(engine, static_cast<int64_t>(arguments.prompts.size()));
  deltaport_sampling_params params = deltaport::sampling_params();
  params.max_new_tokens = arguments.most_new;
  std::vector<deltaport_request> requests;
  for (const auto& prompt : arguments.prompts) {
    const auto row = static_cast<int64_t>(requests.size());
    requests.push_back({row, prompt.data(), prompt.size(), &params});
  }

  deltaport::Generation generation(session);
  generation.start(requests);
  while (generation.live() > 0) {
    for (const deltaport_event& event : generation.step()) {
      std::printf("%lld %lld\n", static_cast<long long>(event.row),
                  static_cast<long long>(event.token));
    }
    std::fflush(stdout);
  }
}

}  // namespace

int main(int count, char** words) {
  try {
    run(parse(count, words));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
}
