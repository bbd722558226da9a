"""What a run on a GPU found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from benchmarks.report import Row

__all__ = ["Check", "Figures", "Results", "State", "read_results", "write_results"]

State = Literal["passed", "failed", "not run"]


@dataclass(frozen=True)
class Check:
    """A row of the table of checks. ``detail``: how many tests, which failed, or why none ran."""

    name: str
    state: State
    detail: str


@dataclass(frozen=True)
class Figures:
    """What a benchmark measured; ``unit`` is that of ``ours`` and ``peer``."""

    name: str
    unit: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Results:
    """All of a card. ``machine`` is what it ran on and what of, in the order to be shown."""

    card: str
    machine: Mapping[str, str]
    checks: tuple[Check, ...]
    figures: tuple[Figures, ...]

    @property
    def failed(self) -> bool:
        """Whether any check failed."""
        return any(check.state == "failed" for check in self.checks)


def write_results(results: Results, path: Path) -> None:
    """Write them as JSON, for :func:`read_results`."""
    path.write_text(json.dumps(asdict(results), indent=2) + "\n")


def read_results(path: Path) -> Results:
    """What :func:`write_results` wrote."""
    found = json.loads(path.read_text())
    figures = tuple(
        Figures(each["name"], each["unit"], tuple(Row(**row) for row in each["rows"]))
        for each in found["figures"]
    )
    checks = tuple(Check(**check) for check in found["checks"])
    return Results(found["card"], found["machine"], checks, figures)
