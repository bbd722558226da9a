"""Checkpoint, engines and oracle of each case."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deltaport.exporter.export import StorageDtype, export_checkpoint
from deltaport.graph_passes.target_capabilities import TARGETS
from deltaport.runtime import Engine
from deltaport.runtime.kernel_library import ISA_VARIABLE
from tests.checkpoints import save_checkpoint
from tests.parity.cases import CASES, Case
from tests.parity.oracle import Oracle, Reference
from tests.parity.targets import label, subjects
from tests.parity.traces import trace_once
from tests.without_tensorrt import open_without_tensorrt


@dataclass(frozen=True)
class Original:
    """A checkpoint and what transformers makes of it, found out once for all engines of it."""

    case: Case
    checkpoint: Path
    oracle: Oracle
    prefixes: set[tuple[str, ...]] = field(default_factory=set)
    """Passes, those that changed the graph, after which an engine was already compared."""
    _prompts: dict[tuple[int, int, bool], Reference] = field(default_factory=dict)
    _runs: dict[tuple[int, ...], Reference] = field(default_factory=dict)

    def prompt(self, seed: int, length: int, *, repeat: bool = False) -> Reference:
        """As :meth:`Oracle.prompt_with_margin`."""
        key = seed, length, repeat
        if key not in self._prompts:
            self._prompts[key] = self.oracle.prompt_with_margin(seed, length, repeat=repeat)
        return self._prompts[key]

    def run(self, prompt: list[int]) -> Reference:
        """As :meth:`Oracle.run`."""
        key = tuple(prompt)
        if key not in self._runs:
            self._runs[key] = self.oracle.run(prompt)
        return self._runs[key]


@dataclass(frozen=True)
class Subject:
    """An engine of a checkpoint for a target."""

    original: Original
    target: str
    label: str
    dtype: StorageDtype
    engine: Engine


@pytest.fixture(scope="session", params=CASES, ids=lambda case: case.name)
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Original:
    case: Case = request.param
    folder = tmp_path_factory.mktemp("parity") / "checkpoint"
    checkpoint = save_checkpoint(folder, seed=case.seed, **case.checkpoint)
    return Original(case, checkpoint, Oracle(checkpoint))


@pytest.fixture(scope="session", params=subjects(), ids=lambda subject: label(*subject))
def subject(request: pytest.FixtureRequest, original: Original) -> Subject:
    target, isa = request.param
    folder = original.checkpoint.parent / target
    # Targets for GPUs compute in the dtype they store; on the CPU, and against fp32, that is fp32.
    dtype: StorageDtype = "float32" if "lower-precision" in TARGETS[target].lowering else "auto"
    with pytest.MonkeyPatch.context() as patch:
        if not folder.exists():  # one engine for every instruction set
            patch.setattr("deltaport.exporter.trace.trace", trace_once)
            export_checkpoint(original.checkpoint, folder, target=target, dtype=dtype)
        if isa is not None:
            patch.setenv(ISA_VARIABLE, isa)
        has_plan = TARGETS[target].plan
        engine = open_without_tensorrt(folder) if has_plan else Engine.open(folder, threads=2)
    return Subject(original, target, label(target, isa), dtype, engine)
