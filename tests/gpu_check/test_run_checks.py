"""Checks and benchmarks: what is run, and how their ends are told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from benchmarks.report import Row

from tests.end_to_end.cpp_programs import ROOT
from tests.gpu import REQUIRED
from tests.tensorrt.headers import HEADER, header_version, tensorrt_root
from tools.gpu_check import machine, needs, run_checks
from tools.gpu_check.measure import BENCHMARKS, Benchmark, measure
from tools.gpu_check.results import Check, Figures, State
from tools.gpu_check.run_checks import CHECKS, Suite, judge

PASSING = "def test_a(record_property): record_property('error', {})\n"


def run(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Run tests of this source, in a folder of their own, as a check is run."""
    (tmp_path / "test_made_up.py").write_text(source)
    monkeypatch.setattr(run_checks, "ROOT", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = emulation\n")
    return run_checks.run(Suite("made-up", "made up", ("test_made_up.py",), ()), tmp_path)


@pytest.mark.parametrize(
    ("source", "state", "detail"),
    [
        (PASSING.format("3e-6"), "passed", "1 tests; error at most 3.0e-06"),
        ("def test_a(): assert False\n", "failed", "1 of 1: test_a"),
        ("import pytest\ndef test_a(): pytest.skip('x')\n", "failed", "1 of 1: test_a"),
        (
            "import os\ndef test_a(): assert os.environ['DELTAPORT_GPU'] == '1'\n",
            "passed",
            "1 tests",
        ),
        ("", "failed", "pytest ended with 5 after 0 tests"),
        (
            "import pytest\n@pytest.mark.emulation\ndef test_a(): assert 0\ndef test_b(): pass\n",
            "passed",
            "1 tests",
        ),
        ("import os\ndef test_a(): os._exit(9)\n", "failed", "pytest ended with 9 and no report"),
    ],
)
def test_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, state: State, detail: str
) -> None:
    assert run(tmp_path, source, monkeypatch) == Check("made up", state, detail)


def test_many_failures_are_counted() -> None:
    cases = "".join(f'<testcase name="t{i}"><failure/></testcase>' for i in range(5))
    report = ElementTree.fromstring(f"<testsuite>{cases}<testcase name='good'/></testsuite>")
    assert judge("x", report, 1) == Check("x", "failed", "5 of 6: t0, t1, t2 and 2 more")


def test_what_is_lacking_is_told(tmp_path: Path) -> None:
    wanted = (lambda: None, lambda: "no TensorRT", lambda: "no")
    suite = Suite("x", "x", ("no_such_file.py",), wanted)
    assert run_checks.run(suite, tmp_path) == Check("x", "not run", "no TensorRT")
    benchmark = Benchmark("X", "µs", "no.such.module", (lambda: "no nvcc",))
    assert measure(benchmark, tmp_path) == (Check("benchmark: x", "not run", "no nvcc"), None)


def test_a_need_that_cannot_look_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORRT_ROOT", str(tmp_path))
    said = f"TENSORRT_ROOT is {tmp_path}, where there is no {HEADER}"
    suite = Suite("x", "x", ("no_such_file.py",), (needs.tensorrt_headers,))
    assert run_checks.run(suite, tmp_path) == Check("x", "not run", said)
    assert needs.first_missing((lambda: str(tensorrt_root()),)) == said
    monkeypatch.delenv("TENSORRT_ROOT")
    monkeypatch.setattr("tests.tensorrt.headers._kernel_lens", lambda: None)
    assert str(needs.first_missing((lambda: str(tensorrt_root()),))).startswith(
        f"there is no {HEADER}"
    )


@pytest.fixture(scope="module")
def collected() -> list[str]:
    """Ids of the tests of all checks, as on a machine with a GPU."""
    files = {suite.arguments[0] for suite in CHECKS}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *files, "--collect-only", "-q", "-m", "not emulation"],
        cwd=ROOT,
        env=os.environ | {REQUIRED: "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.parametrize("suite", CHECKS, ids=lambda suite: suite.key)
def test_every_check_selects_tests(suite: Suite, collected: list[str]) -> None:
    path, *chosen = suite.arguments
    assert chosen[:-1] in ([], ["-k"])
    *refused, word = (chosen[-1] if chosen else "").split(" ")
    assert refused in ([], ["not"])
    found = [test for test in collected if test.startswith(path)]
    assert [test for test in found if (word in test) != bool(refused)]


BENCHMARK = """
import json, sys
rows = [{"case": "a", "ours": 1.0, "peer": None, "ratio": None, "limit_share": 0.5}]
open(sys.argv[sys.argv.index("--json") + 1], "w").write(json.dumps(rows))
sys.exit(STATUS)
"""


def made_up(status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "made_up_benchmark.py").write_text(BENCHMARK.replace("STATUS", str(status)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return measure(Benchmark("Made up", "µs", "made_up_benchmark", ()), tmp_path)


def test_figures_of_a_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = Figures("Made up", "µs", (Row("a", 1.0, limit_share=0.5),))
    check = Check("benchmark: made up", "passed", "1 figures")
    assert made_up(0, tmp_path, monkeypatch) == (check, figures)


def test_a_benchmark_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check("benchmark: made up", "failed", "ended with 1")
    assert made_up(1, tmp_path, monkeypatch) == (check, None)


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.module)
def test_benchmarks_are_there(benchmark: Benchmark) -> None:
    done = subprocess.run(
        [sys.executable, "-m", benchmark.module, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert "--json" in done.stdout


def test_what_the_machine_has() -> None:
    answers = {
        "git": {"describe": "v1-3-gabc1234", "status": ""},
        "nvcc": {"--version": "nvcc\nCuda compilation tools, release 13.0, V13.0.88\n"},
        "nvidia-smi": {"--query-gpu=driver_version": "580.65.06\n580.65.06"},
    }

    def say(command: Sequence[str]) -> str | None:
        return answers[command[0]][command[1]]

    assert machine.commit(say) == "v1-3-gabc1234"
    answers["git"]["status"] = " M README.md"
    assert machine.commit(say) == "v1-3-gabc1234, with uncommitted changes"
    assert machine.nvcc_version(say) == "13.0.88"
    assert machine.driver_version(say) == "580.65.06"
    assert machine.commit(lambda _: None) == "unknown"
    assert machine.nvcc_version(lambda _: None) is None
    assert needs.version_of("no_such_module", "pytest") == ("pytest", pytest.__version__)
    assert needs.version_of("no_such_module") is None


def test_headers_have_to_be_those_of_tensorrt() -> None:
    for headers, version in (((1, 7), "1.7.1.116"), ((1, 6), "1.7.1.116"), ((10, 3), "10.14.0")):
        assert needs.misfit(headers, ("tensorrt_rtx", version)) is None
    for headers, version in (((10, 14), "1.7.1.116"), ((1, 8), "1.7.1.116"), ((10, 3), "11.3.0")):
        said = needs.misfit(headers, ("tensorrt", version))
        assert said == (
            f"headers of TensorRT {headers[0]}.{headers[1]} do not fit tensorrt {version}: "
            "TENSORRT_ROOT has to name its own"
        )
    assert needs.misfit((1, 7), None) is None


def test_the_version_of_headers(tmp_path: Path) -> None:
    file = tmp_path / "NvInferVersion.h"
    file.write_text("#define TRT_MAJOR_RTX 1\n#define TRT_MINOR_RTX 7\n")
    assert header_version(tmp_path) == (1, 7)
    file.write_text("#define NV_TENSORRT_MAJOR 10 //!< x\n#define NV_TENSORRT_MINOR 14 //!< y\n")
    assert header_version(tmp_path) == (10, 14)
