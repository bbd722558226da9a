"""The table of parity that is printed after the tests."""

from __future__ import annotations

import pytest

from tests.parity.cases import CASES
from tests.parity.targets import label, subjects

__all__ = ["ROW", "Row", "write_table"]

Row = tuple[str, ...]
ROW = "parity"
"""Under this name a test's properties have its row."""
HEADER = ("checkpoint", "target", "logits", "conv", "recurrent", "kv", "greedy", "router margin")


def write_table(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the rows of the tests that passed, whichever process ran them."""
    names = [case.name for case in CASES]
    targets = [label(*subject) for subject in subjects()]
    rows = sorted(
        (
            value
            for reports in terminalreporter.stats.values()
            for report in reports
            if isinstance(report, pytest.TestReport) and report.when == "call"
            for name, value in report.user_properties
            if name == ROW
        ),
        key=lambda row: (names.index(row[0]), targets.index(row[1])),
    )
    if not rows:
        return
    widths = [max(len(row[i]) for row in (HEADER, *rows)) for i in range(len(HEADER))]
    terminalreporter.section("parity with transformers fp32: largest relative error")
    for row in (HEADER, *rows):
        terminalreporter.write_line(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        )
