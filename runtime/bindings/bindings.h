// The parts of the Python module.
#pragma once

#include <nanobind/nanobind.h>

#include "state_layout.h"

void bind_manifest(nanobind::module_& m);
void bind_state_memory(nanobind::module_& m);
void bind_sampler(nanobind::module_& m);
void bind_engine(nanobind::module_& m);
void bind_session(nanobind::module_& m);
void bind_generation(nanobind::module_& m);
void bind_step_plan(nanobind::module_& m);

// A layout from tuples (input, output, kind, dtype, shape, in_place, rewindable); the dimensions
// "slots" and "capacity" of a shape are named, all others are numbers. Throws ValueError.
deltaport::StateLayout state_layout_from(nanobind::handle rows);
