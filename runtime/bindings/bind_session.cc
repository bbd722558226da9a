// Sessions: rows, steps, state.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <map>

#include "bindings.h"
#include "errors.h"
#include "session.h"
#include "step_ports.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace deltaport;

namespace {

// Hands what a step does to a Python object with the methods before and after.
class PythonObserver : public StepObserver {
 public:
  explicit PythonObserver(nb::object observer) : observer_(std::move(observer)) {}
  ~PythonObserver() override {
    const nb::gil_scoped_acquire acquire;
    observer_.reset();
  }

  void before(const StepPlan& plan) override {
    const nb::gil_scoped_acquire acquire;
    const size_t B = plan.size(), T = plan.width;
    nb::dict inputs;
    inputs[kStepInputs[kInputIds]] = array_of(plan.input_ids.data(), {B, T});
    inputs[kStepInputs[kPositions]] = array_of(plan.positions.data(), {3, B, T});
    inputs[kStepInputs[kLengths]] = array_of(plan.lengths.data(), {B});
    inputs[kStepInputs[kPastLengths]] = array_of(plan.past.data(), {B});
    inputs[kStepInputs[kLogitIndex]] = array_of(plan.logit_index.data(), {plan.logit_index.size()});
    observer_.attr("before")(inputs);
  }

  void after(const StepPlan&, std::span<float> logits, std::span<const Tap> taps) override {
    const nb::gil_scoped_acquire acquire;
    nb::dict shown;
    for (const Tap& tap : taps) {
      size_t bytes = tap.item_size;
      for (const int64_t size : tap.shape) bytes *= static_cast<size_t>(size);
      const auto* const data = reinterpret_cast<const uint8_t*>(tap.data);
      shown[tap.name.c_str()] = nb::make_tuple(array_of(data, {bytes}), tap.shape);
    }
    const size_t shape[] = {logits.size()};
    const nb::object view = nb::cast(nb::ndarray<nb::numpy, float>(logits.data(), 1, shape, nb::none()));
    observer_.attr("after")(view, shown);
  }

 private:
  nb::object observer_;
};

std::shared_ptr<Session> make_session(std::shared_ptr<Engine> engine, int64_t sequences,
                                      int64_t context, StepLimits limits, nb::object observer) {
  std::shared_ptr<StepObserver> shown;
  if (!observer.is_none()) shown = std::make_shared<PythonObserver>(std::move(observer));
  return std::make_shared<Session>(std::move(engine), sequences, context, limits, shown);
}

nb::list step(Session& session, const std::vector<int64_t>& rows, int64_t chunk, bool all) {
  std::vector<RowLogits> results;
  {
    const nb::gil_scoped_release release;
    results = session.step(rows, chunk, all ? Which::all : Which::last);
  }
  const size_t vocab_size = session.engine().manifest().vocab_size;
  nb::list found;
  for (const RowLogits& result : results) {
    const size_t count = result.count;
    found.append(nb::make_tuple(result.row, array_of(result.logits, {count, vocab_size})));
  }
  return found;
}

nb::object logits(const Session& session, int64_t row) {
  const Row& held = session.row(row);
  if (!held.has_logits()) return nb::none();
  return array_of(held.logits, {static_cast<size_t>(session.engine().manifest().vocab_size)});
}

nb::object pack(const Session& session, size_t tensor, int64_t row, int64_t used) {
  if (used > session.capacity()) throw InputError("used is beyond the capacity of the caches");
  std::vector<uint8_t> bytes(session.memory().packed_bytes(tensor, used));
  session.memory().pack(tensor, session.row(row).slot, used,
                        reinterpret_cast<std::byte*>(bytes.data()));
  return array_of(bytes.data(), {bytes.size()});
}

// Between two steps Python looks for signals, so that Ctrl-C ends long work.
void look_for_signals() {
  const nb::gil_scoped_acquire acquire;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

// Logits [n,V] of each of `given`, n the tokens that were run, or [1,V] of the last one.
nb::list prefill(Session& session, const std::vector<RowTokens>& given, int64_t chunk, bool all) {
  const int64_t vocab_size = session.engine().manifest().vocab_size;
  std::map<int64_t, std::vector<float>> logits;
  {
    const nb::gil_scoped_release release;
    TakeLogits take;
    if (all) {
      take = [&](const RowLogits& found) {
        std::vector<float>& row = logits[found.row];
        row.insert(row.end(), found.logits, found.logits + found.count * vocab_size);
      };
    }
    session.prefill(given, chunk, all ? Which::all : Which::last, look_for_signals, take);
  }
  nb::list found;
  for (const auto& [row, tokens] : given) {
    const float* const data = all ? logits[row].data() : session.row(row).logits;
    const size_t count = all ? logits[row].size() / vocab_size : 1;
    found.append(array_of(data, {count, static_cast<size_t>(vocab_size)}));
  }
  return found;
}

void wind_back(Session& session, int64_t row, int64_t count,
            const std::vector<std::shared_ptr<Snapshot>>& snapshots) {
  std::vector<const Snapshot*> given;
  for (const auto& snapshot : snapshots) given.push_back(snapshot.get());
  const nb::gil_scoped_release release;
  session.rewind(row, count, given, look_for_signals);
}

}  // namespace

void bind_session(nb::module_& m) {
  const auto release = nb::call_guard<nb::gil_scoped_release>();
  nb::class_<StepLimits>(m, "StepLimits")
      .def(nb::init<>())
      .def_rw("initial_capacity", &StepLimits::initial_capacity)
      .def_rw("largest", &StepLimits::largest)
      .def_rw("smallest", &StepLimits::smallest)
      .def_rw("most_tokens", &StepLimits::most_tokens)
      .def_rw("score_cells", &StepLimits::score_cells);
  nb::class_<Session>(m, "Session")
      .def(nb::new_(&make_session), "engine"_a, "sequences"_a, "context"_a, "limits"_a,
           "observer"_a.none())
      .def_prop_ro("context", &Session::context)
      .def_prop_ro("capacity", &Session::capacity)
      .def_prop_ro("rows", &Session::rows)
      .def("open", &Session::open, release)
      .def("close", &Session::close, "row"_a, release)
      .def("is_open", &Session::is_open, "row"_a)
      .def("tokens", [](const Session& s, int64_t row) { return s.row(row).tokens; }, "row"_a)
      .def("count", [](const Session& s, int64_t row) { return s.row(row).tokens.size(); },
           "row"_a)
      .def("length", [](const Session& s, int64_t row) { return s.row(row).length; }, "row"_a)
      .def("logits", &logits, "row"_a,
           nb::sig("def logits(self, row: int) -> NDArray[numpy.float32] | None"))
      .def("append",
           [](Session& s, const std::vector<RowTokens>& given, const std::vector<RowCount>& follow,
              int64_t chunk) { s.append(given, follow, chunk, true); },
           "given"_a, "follow"_a, "chunk"_a, release)
      .def("prefill", &prefill, "given"_a, "chunk"_a, "all"_a,
           nb::sig("def prefill(self, given: Sequence[tuple[int, Sequence[int]]], chunk: int, "
                   "all: bool) -> list[NDArray[numpy.float32]]"))
      .def("waiting",
           [](const Session& s, const std::vector<int64_t>& rows) { return s.waiting(rows); },
           "rows"_a)
      .def("step", &step, "rows"_a, "chunk"_a, "all"_a,
           nb::sig("def step(self, rows: Sequence[int], chunk: int, all: bool) -> "
                   "list[tuple[int, NDArray[numpy.float32]]]"))
      .def("extend", &Session::extend, "row"_a, "token"_a)
      .def("retract", &Session::retract, "row"_a, "count"_a)
      .def("clear", &Session::clear, "row"_a, release)
      .def("fork", &Session::fork, "row"_a, release)
      .def("pack", &pack, "tensor"_a, "row"_a, "used"_a,
           nb::sig("def pack(self, tensor: int, row: int, used: int) -> NDArray[numpy.uint8]"))
      .def("snapshot",
           [](const Session& s, int64_t row) { return std::make_shared<Snapshot>(s.snapshot(row)); },
           "row"_a, release)
      .def("restore", &Session::restore, "row"_a, "snapshot"_a, release)
      .def("rewind", &wind_back, "row"_a, "count"_a, "snapshots"_a)
      .def("use_prefixes", &Session::use_prefixes, "prefixes"_a)
      .def("cancel", &Session::cancel, release)
      .def("take_cancel", &Session::take_cancel)
      .def("row_bytes", &Session::row_bytes, "row"_a)
      .def("resident_bytes", [](const Session& s) { return s.memory().resident_bytes(); })
      .def("run_nanoseconds", &Session::run_nanoseconds)
      .def("broken", &Session::broken);
}
