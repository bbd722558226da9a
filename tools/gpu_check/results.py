"""What a run on a GPU found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.report import Row

__all__ = [
    "LEFT_OUT",
    "STOPPED",
    "Check",
    "Figures",
    "Results",
    "State",
    "benchmark_title",
    "merge",
    "read_results",
    "write_results",
]

LEFT_OUT, STOPPED = "not asked for", "the run was stopped before its end"
"""Why nothing was tried of a check."""

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


def benchmark_title(name: str) -> str:
    """What the check is called that figures of this name are of."""
    return f"benchmark: {name.lower()}"


def merge(parts: Sequence[Results]) -> Results:
    """Runs of the same commit on the same card as one: of each check what the last one found.

    ValueError where they are of two cards or commits.
    """
    checks: dict[str, Check] = {}
    figures: dict[str, Figures] = {}
    first = parts[0]
    for part in parts:
        for found, wanted in (
            (part.card, first.card),
            (part.machine["commit"], first.machine["commit"]),
        ):
            if found != wanted:
                raise ValueError(f"results of {found} are none of {wanted}: they are two runs")
        measured = {benchmark_title(each.name): each for each in part.figures}
        for check in part.checks:
            if check.name in checks and check.detail in (LEFT_OUT, STOPPED):
                continue
            checks[check.name] = check
            figures.pop(check.name, None)
            if check.name in measured:
                figures[check.name] = measured[check.name]
    return Results(first.card, first.machine, tuple(checks.values()), tuple(figures.values()))


def write_results(results: Results, path: Path) -> None:
    """Write them as JSON, for :func:`read_results`. Whoever is stopped has the ones before."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(results), indent=2) + "\n")
    new.replace(path)


def read_results(path: Path) -> Results:
    """What :func:`write_results` wrote; ValueError where it did not write that file."""
    try:
        return _results(json.loads(path.read_text()))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not the results of 'make gpu-check' ({error!r})") from error


def _results(found: Any) -> Results:
    figures = tuple(
        Figures(each["name"], each["unit"], tuple(Row(**row) for row in each["rows"]))
        for each in found["figures"]
    )
    checks = tuple(Check(**check) for check in found["checks"])
    return Results(found["card"], found["machine"], checks, figures)
