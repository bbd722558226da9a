"""Running the tests that want a GPU, and what their report says."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.gpu import REQUIRED
from tests.tensorrt.headers import REQUIRED as REQUIRED_TENSORRT
from tools.gpu_check import needs
from tools.gpu_check.limited import run_within
from tools.gpu_check.needs import Need
from tools.gpu_check.results import Check

__all__ = ["CHECKS", "Suite", "judge", "run"]

ROOT = Path(__file__).resolve().parents[2]
_NAMED = 3
"""Failed tests whose names are told."""


@dataclass(frozen=True)
class Suite:
    """Tests that are one check: arguments of pytest, and what they cannot run without.

    ``key`` is what ``--only`` calls it, ``title`` what the page does.
    """

    key: str
    title: str
    arguments: tuple[str, ...]
    needs: tuple[Need, ...]
    minutes: float = 30


CHECKS = (
    Suite("kernels", "kernels, against float64", ("tests/simt",), (needs.nvcc,)),
    Suite("bits", "kernels, bit by bit as on the host", ("tests/gpu/test_bits.py",), (needs.nvcc,)),
    Suite(
        "plugins",
        "calls of plugins, against float64",
        ("tests/tensorrt/test_enqueue.py",),
        needs.FOR_PLUGINS,
    ),
    Suite(
        "plain-plans",
        "plans of TensorRT's own layers, against transformers",
        ("tests/gpu/test_plans.py", "-k", "plain"),
        (needs.tensorrt, needs.plan_library),
        minutes=60,
    ),
    Suite(
        "plans",
        "plans with plugins, against transformers",
        ("tests/gpu/test_plans.py", "-k", "not plain"),
        (needs.tensorrt, needs.plan_library),
        minutes=60,
    ),
    Suite(
        "ort-cuda",
        "`ort-cuda` engines, against transformers",
        ("tests/gpu/test_ort_cuda.py",),
        (needs.onnxruntime_cuda,),
    ),
)


def run(suite: Suite, folder: Path) -> Check:
    """Run the tests, whose output goes where ours does, and report in ``folder``."""
    missing = needs.first_missing(suite.needs)
    if missing is not None:
        return Check(suite.title, "not run", missing)
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    options = ("-q", "-m", "not emulation", "--junitxml", str(report))
    command = [sys.executable, "-m", "pytest", *suite.arguments, *options]
    env = os.environ | {REQUIRED: "1", REQUIRED_TENSORRT: "1"}
    status = run_within(suite.minutes, command, ROOT, env)
    if status is None:
        return Check(suite.title, "failed", f"ran past {suite.minutes:g} minutes")
    if not report.exists():
        return Check(suite.title, "failed", f"pytest ended with {status} and no report")
    return judge(suite.title, ElementTree.parse(report).getroot(), status)


def judge(name: str, report: ElementTree.Element, status: int) -> Check:
    """What a report of pytest in JUnit's format says. A test that is skipped has not passed."""
    cases = list(report.iter("testcase"))
    by_end = {
        end: [case for case in cases if case.find(end) is not None]
        for end in ("failure", "error", "skipped")
    }
    bad = [case for cases in by_end.values() for case in cases]
    if not bad and status == 0 and cases:
        return Check(name, "passed", _passed(cases))
    if not bad:
        return Check(name, "failed", f"pytest ended with {status} after {len(cases)} tests")
    names = [case.get("name", "?") for case in bad[:_NAMED]]
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return Check(name, "failed", f"{len(bad)} of {len(cases)}: {', '.join(names)}{more}")


def _passed(cases: Sequence[ElementTree.Element]) -> str:
    """How many tests, and the largest of every error they recorded."""
    largest: dict[str, float] = {}
    for found in (each for case in cases for each in case.iter("property")):
        name, value = found.get("name", "?"), float(found.get("value", "nan"))
        largest[name] = max(value, largest.get(name, value))
    told = [f"{name} at most {value:.1e}" for name, value in largest.items()]
    return "; ".join((f"{len(cases)} tests", *told))
