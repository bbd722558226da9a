"""Checkpoint, engine and oracle of each case, and the table printed after the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from deltaport.exporter.export import export_checkpoint
from deltaport.runtime import Engine
from tests.checkpoints import save_checkpoint
from tests.parity.cases import CASES, Case
from tests.parity.oracle import Oracle

Row = tuple[str, ...]
TABLE: pytest.StashKey[list[Row]] = pytest.StashKey()
HEADER = ("checkpoint", "logits", "conv", "recurrent", "kv", "greedy", "router margin")


@dataclass(frozen=True)
class Subject:
    """Two implementations of one checkpoint."""

    case: Case
    checkpoint: Path
    engine: Engine
    oracle: Oracle


@pytest.fixture(scope="session", params=CASES, ids=lambda case: case.name)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    case: Case = request.param
    folder = tmp_path_factory.mktemp("parity")
    checkpoint = save_checkpoint(folder / "checkpoint", seed=case.seed, **case.checkpoint)
    export_checkpoint(checkpoint, folder / "engine")
    return Subject(case, checkpoint, Engine.open(folder / "engine", threads=2), Oracle(checkpoint))


@pytest.fixture
def report(request: pytest.FixtureRequest) -> list[Row]:
    """Rows of the table; append to it."""
    return request.config.stash.setdefault(TABLE, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    rows = config.stash.get(TABLE, [])
    if not rows:
        return
    widths = [max(len(row[i]) for row in (HEADER, *rows)) for i in range(len(HEADER))]
    terminalreporter.section("parity with transformers fp32: largest relative error")
    for row in (HEADER, *rows):
        terminalreporter.write_line(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        )
