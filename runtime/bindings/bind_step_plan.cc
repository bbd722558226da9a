// The parts of a step by themselves, for their tests.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.h"
#include "session_rows.h"
#include "step_plan.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace deltaport;

namespace {

using Ids = std::vector<int64_t>;
// Row, tokens, past, first logit, slot. Work itself only points at tokens.
using Work = std::tuple<int64_t, Ids, int64_t, int64_t, int64_t>;
// Tokens, length, slot, after how many tokens it has logits if any, whether somebody keeps those.
using HeldRow = std::tuple<Ids, int64_t, int64_t, std::optional<int64_t>, bool>;

std::vector<RowWork> work_of(const std::vector<Work>& given) {
  std::vector<RowWork> work;
  for (const auto& [row, tokens, past, first_logit, slot] : given) {
    work.push_back({row, tokens, past, first_logit, slot});
  }
  return work;
}

std::vector<std::vector<Work>> groups_of(const std::vector<Work>& given, bool ragged) {
  std::vector<std::vector<Work>> groups;
  for (const std::vector<RowWork>& group : group_rows(work_of(given), ragged)) {
    std::vector<Work>& shown = groups.emplace_back();
    for (const RowWork& work : group) {
      shown.emplace_back(work.row, Ids(work.tokens.begin(), work.tokens.end()), work.past,
                         work.first_logit, work.slot);
    }
  }
  return groups;
}

using Shown = nb::typed<nb::dict, nb::str, nb::any>;

// Sessions use a plan again for another step: `before` was laid out in the same one.
Shown lay_out(const std::vector<Work>& rows, const std::vector<Work>& before) {
  StepPlan plan;
  for (const std::vector<Work>* some : {&before, &rows}) {
    if (some->empty()) continue;
    plan.rows = work_of(*some);
    plan.lay_out();
  }
  nb::dict shown;
  shown["first_slot"] = plan.first_slot;
  shown["width"] = plan.width;
  shown["input_ids"] = plan.input_ids;
  shown["positions"] = plan.positions;
  shown["lengths"] = plan.lengths;
  shown["past"] = plan.past;
  shown["logit_index"] = plan.logit_index;
  return Shown(shown);
}

std::string broken(const std::vector<HeldRow>& rows, Ids row_of_slot, int64_t capacity,
                   int64_t context, int64_t vocab_size) {
  Bookkeeping books{{}, std::move(row_of_slot)};
  for (const auto& [tokens, length, slot, logits_at, kept] : rows) {
    Row& row = books.rows.emplace_back();
    row.tokens = tokens;
    row.length = length;
    row.slot = slot;
    if (kept) row.block = std::make_shared<LogitsBlock>();
    if (!logits_at) continue;
    static const float logits = 0;
    row.logits = &logits;
    row.logits_at = *logits_at;
  }
  return broken_invariant(books, capacity, context, vocab_size);
}

}  // namespace

void bind_step_plan(nb::module_& m) {
  m.def("best_window",
        [](const Ids& taken, int64_t slots) { return best_window(taken, slots); }, "taken"_a,
        "slots"_a);
  m.def("group_rows", &groups_of, "work"_a, "ragged"_a);
  m.def("lay_out", &lay_out, "rows"_a, "before"_a = std::vector<Work>());
  m.def("broken_invariant", &broken, "rows"_a, "row_of_slot"_a, "capacity"_a, "context"_a,
        "vocab_size"_a);
}
