// The Python module of the native runtime, deltaport.runtime._native. Internal: the classes users
// see are those of deltaport.runtime, which are made of these.

#include <nanobind/nanobind.h>

#include "bindings.h"
#include "errors.h"

namespace nb = nanobind;

namespace {

// Raises the class of deltaport.errors that stands for a kind of error.
void raise(const char* name, const std::exception& error) {
  const nb::object kind = nb::module_::import_("deltaport.errors").attr(name);
  PyErr_SetString(kind.ptr(), error.what());
}

void translate(const std::exception_ptr& thrown, void*) {
  using namespace deltaport;
  try {
    std::rethrow_exception(thrown);
  } catch (const CapacityError& error) {
    raise("CapacityError", error);
  } catch (const InputError& error) {
    raise("InputError", error);
  } catch (const OutputError& error) {
    raise("OutputError", error);
  } catch (const StepCancelledError& error) {
    raise("StepCancelledError", error);
  } catch (const EngineError& error) {
    raise("EngineError", error);
  }
}

}  // namespace

NB_MODULE(_native, m) {
  // What is alive when Python ends is of no interest to whoever ran it.
  nb::set_leak_warnings(false);
  nb::register_exception_translator(translate);
  bind_manifest(m);
  bind_state_memory(m);
  bind_sampler(m);
  bind_engine(m);
  bind_snapshot(m);
  bind_session(m);
  bind_generation(m);
  bind_step_plan(m);
}
