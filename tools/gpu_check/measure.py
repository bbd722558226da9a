"""Running the benchmarks that want a GPU."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Row

from tools.gpu_check import needs
from tools.gpu_check.limited import run_within
from tools.gpu_check.needs import Need
from tools.gpu_check.results import Check, Figures, benchmark_title

__all__ = ["BENCHMARKS", "Benchmark", "measure"]

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Benchmark:
    """A module of ``benchmarks`` that takes ``--json FILE``, and what it cannot run without."""

    name: str
    unit: str
    module: str
    needs: tuple[Need, ...]
    minutes: float = 60

    @property
    def key(self) -> str:
        """What ``--only`` calls it."""
        return f"benchmark-{self.name.lower()}"

    @property
    def title(self) -> str:
        """What the page calls its check."""
        return benchmark_title(self.name)


BENCHMARKS = (
    Benchmark("Kernels", "µs", "benchmarks.gpu_kernels", (needs.nvcc,)),
    Benchmark(
        "Plans", "tokens a second", "benchmarks.gpu_plans", (needs.tensorrt, needs.plan_library)
    ),
)


def measure(benchmark: Benchmark, folder: Path) -> tuple[Check, Figures | None]:
    """Run it, writing to ``folder``; figures only where it ends well."""
    missing = needs.first_missing(benchmark.needs)
    if missing is not None:
        return Check(benchmark.title, "not run", missing), None
    found = folder / "figures.json"
    found.unlink(missing_ok=True)
    command = [sys.executable, "-m", benchmark.module, "--json", str(found)]
    status = run_within(benchmark.minutes, command, ROOT)
    if status is None:
        return Check(benchmark.title, "failed", f"ran past {benchmark.minutes:g} minutes"), None
    if status != 0 or not found.exists():
        return Check(benchmark.title, "failed", f"ended with {status}"), None
    rows = tuple(Row(**row) for row in json.loads(found.read_text()))
    return Check(benchmark.title, "passed", f"{len(rows)} figures"), Figures(
        benchmark.name, benchmark.unit, rows
    )
