"""What every benchmark prints and writes: rows of one form.

``ours`` and ``peer`` are in the unit the benchmark names. ``ratio`` is above 1 where we are
better. ``limit_share`` is the share of the hardware's peak, measured in the same run, that
ours reaches. A row has None for what there is nothing to compare with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Row", "print_table", "write_json"]


@dataclass(frozen=True)
class Row:
    """One measurement."""

    case: str
    ours: float
    peer: float | None = None
    ratio: float | None = None
    limit_share: float | None = None


def print_table(rows: Sequence[Row]) -> None:
    """Print rows in columns; a dash where there is no figure."""
    width = max(len(row.case) for row in rows)
    print(f"{'case':{width}} {'ours':>10} {'peer':>10} {'ratio':>7} {'limit share':>12}")
    for row in rows:
        ratio = _text(row.ratio, ".2f")
        share = _text(row.limit_share, ".0%")
        numbers = f"{_text(row.ours, '.4g'):>10} {_text(row.peer, '.4g'):>10}"
        print(f"{row.case:{width}} {numbers} {ratio:>7} {share:>12}")


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Write rows as a list of objects with the fields of :class:`Row`."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
