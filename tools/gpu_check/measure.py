"""Running the benchmarks that want a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Row

from tools.gpu_check import needs
from tools.gpu_check.results import Check, Figures

__all__ = ["BENCHMARKS", "Benchmark", "measure"]

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Benchmark:
    """A module of ``benchmarks`` that takes ``--json FILE``, and what it cannot run without."""

    name: str
    unit: str
    module: str
    needs: tuple[Callable[[], str | None], ...]


BENCHMARKS = (
    Benchmark("Kernels", "µs", "benchmarks.gpu_kernels", (needs.nvcc,)),
    Benchmark(
        "Plans", "tokens a second", "benchmarks.gpu_plans", (needs.tensorrt, needs.plan_library)
    ),
)


def measure(benchmark: Benchmark, folder: Path) -> tuple[Check, Figures | None]:
    """Run it, writing to ``folder``; figures only where it ends well."""
    name = f"benchmark: {benchmark.name.lower()}"
    missing = [reason for need in benchmark.needs if (reason := need()) is not None]
    if missing:
        return Check(name, "not run", missing[0]), None
    found = folder / "figures.json"
    found.unlink(missing_ok=True)
    command = [sys.executable, "-m", benchmark.module, "--json", str(found)]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode != 0 or not found.exists():
        return Check(name, "failed", f"ended with {done.returncode}"), None
    rows = tuple(Row(**row) for row in json.loads(found.read_text()))
    return Check(name, "passed", f"{len(rows)} figures"), Figures(
        benchmark.name, benchmark.unit, rows
    )
