// The sampler and what it is made of, for Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "logits_processors.h"
#include "sampler.h"
#include "sampling_params.h"

namespace nb = nanobind;
using namespace nanobind::literals;

namespace deltaport {

namespace {

template <typename Element>
using Input = nb::ndarray<const Element, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename Element>
using Output = nb::ndarray<nb::numpy, Element, nb::ndim<1>>;
using Logits = Input<float>;
using Allowed = std::optional<Input<bool>>;

template <typename Element>
std::span<const Element> span_of(const Input<Element>& array) {
  return {array.data(), array.size()};
}

// An array that owns `elements`.
template <typename Element>
Output<Element> array_of(std::unique_ptr<Element[]> elements, size_t n) {
  Element* data = elements.release();
  const nb::capsule owner(data,
                          [](void* owned) noexcept { delete[] static_cast<Element*>(owned); });
  return Output<Element>(data, {n}, owner);
}

Output<double> array_of(const Scores& scores) {
  auto copy = std::make_unique<double[]>(scores.size());
  std::copy(scores.begin(), scores.end(), copy.get());
  return array_of(std::move(copy), scores.size());
}

// What a filter leaves of `n` tokens, as a mask [n].
Output<bool> mask_of(const Ids& stay, size_t n) {
  auto mask = std::make_unique<bool[]>(n);
  for (const int64_t index : stay) mask[index] = true;
  return array_of(std::move(mask), n);
}

// `array` after `change`, which works in place.
template <typename Change>
Output<double> changed(const Input<double>& array, const Change& change) {
  Scores scores(array.data(), array.data() + array.size());
  change(scores);
  return array_of(scores);
}

void check_length(const char* name, size_t found, size_t expected) {
  if (found == expected) return;
  throw InputError(std::string(name) + " holds " + std::to_string(found) +
                   " numbers, expected as many as there are ids: " + std::to_string(expected));
}

void check_not_empty(const char* name, size_t size) {
  if (size == 0) throw InputError(std::string(name) + " is empty, expected one number per token");
}

// A dict, or pairs, of token ids and what is added to their logits.
std::vector<std::pair<int64_t, double>> biases_of(const nb::object& logit_bias) {
  const bool is_dict = nb::isinstance<nb::dict>(logit_bias);
  std::vector<std::pair<int64_t, double>> biases;
  for (const nb::handle pair : is_dict ? nb::object(logit_bias.attr("items")()) : logit_bias) {
    biases.push_back(nb::cast<std::pair<int64_t, double>>(pair));
  }
  return biases;
}

void bind_params(nb::module_& m) {
  nb::class_<SamplingParams>(m, "SamplingParams",
                             "What a sequence is generated with; see deltaport.SamplingParams.")
      .def(
          "__init__",
          [](SamplingParams* self, std::optional<int64_t> max_new_tokens, int64_t min_new_tokens,
             double temperature, int64_t top_k, double top_p, double min_p, double typical_p,
             double repetition_penalty, double presence_penalty, double frequency_penalty,
             const nb::object& logit_bias, std::vector<int64_t> suppress_tokens,
             std::optional<uint64_t> seed, std::vector<int64_t> stop_token_ids, bool ignore_eos,
             std::optional<int64_t> logprobs) {
            new (self) SamplingParams{.max_new_tokens = max_new_tokens,
                                      .min_new_tokens = min_new_tokens,
                                      .temperature = temperature,
                                      .top_k = top_k,
                                      .top_p = top_p,
                                      .min_p = min_p,
                                      .typical_p = typical_p,
                                      .repetition_penalty = repetition_penalty,
                                      .presence_penalty = presence_penalty,
                                      .frequency_penalty = frequency_penalty,
                                      .logit_bias = biases_of(logit_bias),
                                      .suppress_tokens = std::move(suppress_tokens),
                                      .seed = seed,
                                      .stop_token_ids = std::move(stop_token_ids),
                                      .ignore_eos = ignore_eos,
                                      .logprobs = logprobs};
          },
          nb::kw_only(), "max_new_tokens"_a.none() = 128, "min_new_tokens"_a = 0,
          "temperature"_a = 0.0, "top_k"_a = 0, "top_p"_a = 1.0, "min_p"_a = 0.0,
          "typical_p"_a = 1.0, "repetition_penalty"_a = 1.0, "presence_penalty"_a = 0.0,
          "frequency_penalty"_a = 0.0, "logit_bias"_a = nb::dict(),
          "suppress_tokens"_a = nb::tuple(), "seed"_a = nb::none(),
          "stop_token_ids"_a = nb::tuple(), "ignore_eos"_a = false, "logprobs"_a = nb::none())
      .def("check", &SamplingParams::check, "vocab_size"_a,
           "Refuse what is out of range, or what a model of ``vocab_size`` tokens cannot do.");
}

// A sampler that checks what it is given; the runtime has done so before.
class CheckedSampler {
 public:
  CheckedSampler(const SamplingParams& params, int64_t vocab_size,
                 const std::vector<int64_t>& prompt, const std::vector<int64_t>& ends)
      : vocab_size_(vocab_size), sampler_(make(params, vocab_size, prompt, ends)) {}

  int64_t pick(const Logits& logits, const Allowed& allowed) const {
    if (!allowed) return sampler_.pick(span_of(logits));
    if (static_cast<int64_t>(allowed->size()) != vocab_size_) {
      throw InputError("allowed is a mask of shape [" + std::to_string(allowed->size()) +
                       "], expected [" + std::to_string(vocab_size_) + "], the vocabulary");
    }
    return sampler_.pick(span_of(logits), allowed->data());
  }

  void add(int64_t token) {
    check_token_ids("add", {&token, 1}, vocab_size_);
    sampler_.add(token);
  }

  std::vector<int64_t> new_tokens() const {
    const std::span<const int64_t> tokens = sampler_.new_tokens();
    return {tokens.begin(), tokens.end()};
  }

 private:
  static Sampler make(const SamplingParams& params, int64_t vocab_size,
                      const std::vector<int64_t>& prompt, const std::vector<int64_t>& ends) {
    params.check(vocab_size);
    check_token_ids("prompt", prompt, vocab_size);
    check_token_ids("ends", ends, vocab_size);
    return Sampler(params, vocab_size, prompt, ends);
  }

  int64_t vocab_size_;
  Sampler sampler_;
};

void bind_picking(nb::module_& m) {
  nb::class_<CheckedSampler>(m, "Sampler", "Picks tokens by ``params``, remembering what came.")
      .def(nb::init<const SamplingParams&, int64_t, const std::vector<int64_t>&,
                    const std::vector<int64_t>&>(),
           "params"_a, "vocab_size"_a, "prompt"_a = nb::tuple(), "ends"_a = nb::tuple())
      .def("pick", &CheckedSampler::pick, "logits"_a.noconvert(), "allowed"_a.none() = nb::none(),
           "The next token after ``logits`` [V]; ``allowed`` is a mask [V].")
      .def("add", &CheckedSampler::add, "token"_a, "The sequence goes on with ``token``.")
      .def_prop_ro("new_tokens", &CheckedSampler::new_tokens);

  m.def("uniform", &uniform, "seed"_a, "index"_a,
        "The number in [0, 1) that chooses new token ``index``.");
  m.def(
      "largest",
      [](const Logits& logits) {
        check_not_empty("logits", logits.size());
        const Largest found = largest(span_of(logits));
        return std::pair(found.index, found.value);
      },
      "logits"_a.noconvert(), "Index and value of the largest of ``logits`` [V].");
  m.def(
      "log_probabilities",
      [](const Logits& logits, int64_t token, int64_t count) {
        check_token_ids("token", {&token, 1}, static_cast<int64_t>(logits.size()));
        LogProbabilities found = log_probabilities(span_of(logits), token, count);
        return std::pair(found.chosen, std::move(found.top));
      },
      "logits"_a.noconvert(), "token"_a, "count"_a,
      "Of ``token``, and of the ``count`` most likely tokens with their ids.");
}

void bind_processors(nb::module_& m) {
  m.def(
      "penalize_repetition",
      [](const Input<double>& scores, const std::vector<int64_t>& seen, double penalty) {
        check_token_ids("seen", seen, static_cast<int64_t>(scores.size()));
        return changed(scores, [&](Scores& copy) { penalize_repetition(copy, seen, penalty); });
      },
      "scores"_a.noconvert(), "seen"_a, "penalty"_a);
  m.def(
      "penalize_presence_and_frequency",
      [](const Input<double>& scores, const std::vector<int64_t>& ids,
         const std::vector<int64_t>& counts, double presence, double frequency) {
        check_token_ids("ids", ids, static_cast<int64_t>(scores.size()));
        check_length("counts", counts.size(), ids.size());
        return changed(scores, [&](Scores& copy) {
          penalize_presence_and_frequency(copy, ids, counts, presence, frequency);
        });
      },
      "scores"_a.noconvert(), "ids"_a, "counts"_a, "presence"_a, "frequency"_a);
  m.def(
      "add_bias",
      [](const Input<double>& scores, const std::vector<int64_t>& ids,
         const std::vector<double>& biases) {
        check_token_ids("ids", ids, static_cast<int64_t>(scores.size()));
        check_length("biases", biases.size(), ids.size());
        std::vector<std::pair<int64_t, double>> pairs;
        for (size_t i = 0; i < ids.size(); ++i) pairs.emplace_back(ids[i], biases[i]);
        return changed(scores, [&](Scores& copy) { add_bias(copy, pairs); });
      },
      "scores"_a.noconvert(), "ids"_a, "biases"_a);
  m.def(
      "ban",
      [](const Input<double>& scores, const Input<bool>& which) {
        check_length("scores", scores.size(), which.size());
        auto allowed = std::make_unique<bool[]>(which.size());
        for (size_t i = 0; i < which.size(); ++i) allowed[i] = !which.data()[i];
        return changed(scores, [&](Scores& copy) { ban_all_but(copy, allowed.get()); });
      },
      "scores"_a.noconvert(), "which"_a.noconvert());
  m.def(
      "ban",
      [](const Input<double>& scores, const std::vector<int64_t>& which) {
        check_token_ids("which", which, static_cast<int64_t>(scores.size()));
        return changed(scores, [&](Scores& copy) { ban(copy, which); });
      },
      "scores"_a.noconvert(), "which"_a);
  m.def(
      "apply_temperature",
      [](const Input<double>& scores, double temperature) {
        check_not_empty("scores", scores.size());
        return changed(scores, [&](Scores& copy) { apply_temperature(copy, temperature); });
      },
      "scores"_a.noconvert(), "temperature"_a);
  m.def(
      "softmax",
      [](const Input<double>& scores) {
        check_not_empty("scores", scores.size());
        return array_of(softmax({scores.data(), scores.data() + scores.size()}));
      },
      "scores"_a.noconvert());
  m.def(
      "in_top_k",
      [](const Input<double>& scores, int64_t k) {
        check_not_empty("scores", scores.size());
        if (k < 1) throw InputError("k is " + std::to_string(k) + ", expected at least 1");
        return mask_of(in_top_k(span_of(scores), k), scores.size());
      },
      "scores"_a.noconvert(), "k"_a);
  const auto def_filter = [&m](const char* name, auto filter) {
    m.def(
        name,
        [filter](const Input<double>& scores, double p) {
          check_not_empty("scores", scores.size());
          return mask_of(filter(span_of(scores), p), scores.size());
        },
        "scores"_a.noconvert(), "p"_a);
  };
  def_filter("in_top_p", &in_top_p);
  def_filter("in_min_p", &in_min_p);
  def_filter("in_typical_p", &in_typical_p);
}

}  // namespace

}  // namespace deltaport

void bind_sampler(nb::module_& m) {
  using namespace deltaport;
  bind_params(m);
  bind_picking(m);
  bind_processors(m);
}
