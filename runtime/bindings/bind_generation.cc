// Rows that are continued together.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "errors.h"
#include "generation.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace deltaport;

namespace {

using Mask = nb::ndarray<const bool, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Row, token, log-probability, the most likely tokens with theirs, reason why it is the last.
#define DELTAPORT_EVENT                                              \
  "tuple[int, int, float | None, tuple[tuple[int, float], ...], "    \
  "typing.Literal['length', 'end_token'] | None]"
nb::tuple event_of(const GeneratedToken& event) {
  nb::object chosen = nb::none(), reason = nb::none();
  nb::tuple top = nb::make_tuple();
  if (event.logprobs) {
    chosen = nb::cast(event.logprobs->chosen);
    nb::list pairs;
    for (const auto& [token, value] : event.logprobs->top) {
      pairs.append(nb::make_tuple(token, value));
    }
    top = nb::tuple(pairs);
  }
  if (event.finish_reason == FinishReason::length) reason = nb::str("length");
  if (event.finish_reason == FinishReason::end_token) reason = nb::str("end_token");
  return nb::make_tuple(event.row, event.token, chosen, top, reason);
}

void start(Generation& generation, const nb::list& requests) {
  std::vector<Request> made;
  for (const nb::handle item : requests) {
    const auto request = nb::cast<nb::tuple>(item);
    made.push_back({nb::cast<int64_t>(request[0]), nb::cast<std::vector<int64_t>>(request[1]),
                    nb::cast<SamplingParams>(request[2])});
  }
  const nb::gil_scoped_release release;
  generation.start(std::move(made));
}

int64_t pick(const Generation& generation, int64_t row, std::optional<Mask> allowed) {
  return generation.pick(row, allowed ? allowed->data() : nullptr);
}

nb::list step(Generation& generation) {
  std::vector<GeneratedToken> events;
  {
    const nb::gil_scoped_release release;
    events = generation.step();
  }
  nb::list found;
  for (const GeneratedToken& event : events) found.append(event_of(event));
  return found;
}

}  // namespace

void bind_generation(nb::module_& m) {
  nb::class_<Generation>(m, "Generation")
      .def(nb::init<Session&, int64_t>(), "session"_a, "chunk"_a, nb::keep_alive<1, 2>())
      .def("start", &start, "requests"_a,
           nb::sig("def start(self, requests: list[tuple[int, list[int], SamplingParams]]) -> None"))
      .def("cancel", &Generation::cancel, "row"_a)
      .def_prop_ro("live", &Generation::live)
      .def("step", &step, nb::sig("def step(self) -> list[" DELTAPORT_EVENT "]"))
      .def("run", &Generation::run, nb::call_guard<nb::gil_scoped_release>())
      .def("ready", &Generation::ready)
      .def("pick", &pick, "row"_a, "allowed"_a.none())
      .def("go_on",
           [](Generation& g, int64_t row, int64_t token) { return event_of(g.go_on(row, token)); },
           "row"_a, "token"_a,
           nb::sig("def go_on(self, row: int, token: int) -> " DELTAPORT_EVENT));
}
