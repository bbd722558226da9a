"""Run all that wants a GPU and write ``docs/gpu-results.md``. From the repository: make gpu-check.

Exits with 0 where nothing failed, with 1 where something did, and with 2 without a GPU or where
an argument is wrong. ``make`` has 2 for whatever is not 0.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.gpu_check.machine import describe
from tools.gpu_check.measure import BENCHMARKS, Benchmark, measure
from tools.gpu_check.results import (
    LEFT_OUT,
    STOPPED,
    Check,
    Figures,
    Results,
    merge,
    read_results,
    write_results,
)
from tools.gpu_check.results_page import page_with
from tools.gpu_check.run_checks import CHECKS, Suite, run
from tools.gpu_kernels.driver import DRIVER
from tools.gpu_kernels.find_gpu import Gpu, NoGpuError, find_gpu

PAGE = Path("docs/gpu-results.md")
NO_GPU, FAILED = 2, 1


def check(gpu: Gpu, folder: Path, only: Sequence[str]) -> Iterator[Results]:
    """Run all, or what ``only`` names: what is known before the first check and after each.

    What is written on the way lies in ``folder``.
    """
    machine = describe(gpu)  # first: the commit is that of before
    tasks: tuple[Suite | Benchmark, ...] = (*CHECKS, *BENCHMARKS)
    chosen = [task for task in tasks if not only or task.key in only]
    checks = {
        task.key: Check(task.title, "not run", STOPPED if task in chosen else LEFT_OUT)
        for task in tasks
    }
    figures: list[Figures] = []
    yield Results(gpu.name, machine, tuple(checks.values()), ())
    for task in chosen:
        if isinstance(task, Suite):
            checks[task.key] = run(task, folder)
        else:
            checks[task.key], found = measure(task, folder)
            figures += [] if found is None else [found]
        yield Results(gpu.name, machine, tuple(checks.values()), tuple(figures))


def write_page(results: Results) -> None:
    """Put them in place of the card's section."""
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Results | None]:
    """The options, and the results that ``--from`` names."""
    keys = [task.key for task in (*CHECKS, *BENCHMARKS)]
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu_check",
        description="Run all that wants a GPU.",
        epilog="Exits with 0 where nothing failed, 1 where something did, 2 without a GPU.",
    )
    parser.add_argument(
        "--driver", default=DRIVER, help="NVIDIA's driver library; default: %(default)s"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("build/gpu-check"),
        help="where results.json is written after each check; default: %(default)s",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=keys,
        metavar="NAME",
        default=[],
        help=f"run this check; may be given several times: {', '.join(keys)}",
    )
    parser.add_argument(
        "--from",
        dest="found",
        action="append",
        type=Path,
        metavar="RESULTS",
        default=[],
        help="run nothing: write the page from a results.json of another machine; several of the "
        "same card and commit are one run",
    )
    options = parser.parse_args(arguments)
    if options.found and options.only:
        parser.error("--from runs nothing, so there is nothing for --only to choose")
    try:
        parts = [read_results(path) for path in options.found]
        return options, merge(parts) if parts else None
    except (OSError, ValueError) as error:
        parser.error(str(error))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for every check; see the module for the exit status."""
    options, given = parse(arguments)
    if given is not None:
        write_page(given)
        return tell(given)
    try:
        gpu = find_gpu(options.driver)
    except NoGpuError as error:
        print(f"make gpu-check: {error}; nothing was run", file=sys.stderr)
        return NO_GPU
    options.folder.mkdir(parents=True, exist_ok=True)
    for results in check(gpu, options.folder, options.only):
        write_results(results, options.folder / "results.json")
        write_page(results)
    return tell(results)


def tell(results: Results) -> int:
    """Print what was found, and the exit status for it."""
    for each in results.checks:
        print(f"{each.name}: {each.state} ({each.detail})")
    print(f"{PAGE} has a section on {results.card}; other pages may say still that nothing was run")
    return FAILED if results.failed else 0


if __name__ == "__main__":
    # What a check started ends with it where this is ended from outside.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))
    sys.exit(main())
