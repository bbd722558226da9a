"""Run all that wants a GPU and write ``docs/gpu-results.md``. From the repository: make gpu-check.

Exits with 0 where nothing failed, with 1 where something did, and with 2 without a GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.gpu_check.machine import describe
from tools.gpu_check.measure import BENCHMARKS, measure
from tools.gpu_check.results import Results, write_results
from tools.gpu_check.results_page import page_with
from tools.gpu_check.run_checks import CHECKS, run
from tools.gpu_kernels.driver import DRIVER
from tools.gpu_kernels.find_gpu import Gpu, NoGpuError, find_gpu

PAGE = Path("docs/gpu-results.md")
NO_GPU, FAILED = 2, 1


def check(gpu: Gpu, folder: Path) -> Results:
    """Run everything; what is written on the way lies in ``folder``."""
    machine = describe(gpu)  # first: the commit is that of before
    checks = [run(suite, folder) for suite in CHECKS]
    figures = []
    for benchmark in BENCHMARKS:
        done, found = measure(benchmark, folder)
        checks.append(done)
        figures += [] if found is None else [found]
    return Results(gpu.name, machine, tuple(checks), tuple(figures))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for every check; see the module for the exit status."""
    parser = argparse.ArgumentParser(description="Run all that wants a GPU.")
    parser.add_argument(
        "--driver", default=DRIVER, help="NVIDIA's driver library; default: %(default)s"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/gpu-check"))
    options = parser.parse_args(arguments)
    try:
        gpu = find_gpu(options.driver)
    except NoGpuError as error:
        print(f"make gpu-check: {error}; nothing was run", file=sys.stderr)
        return NO_GPU
    options.folder.mkdir(parents=True, exist_ok=True)
    results = check(gpu, options.folder)
    write_results(results, options.folder / "results.json")
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    for each in results.checks:
        print(f"{each.name}: {each.state} ({each.detail})")
    print(f"{PAGE} has a section on {gpu.name}; other pages may say still that nothing was run")
    return FAILED if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
