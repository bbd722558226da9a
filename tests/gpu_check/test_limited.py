"""Commands that may not take for ever, and what they start."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tools.gpu_check import run_checks
from tools.gpu_check.limited import run_within
from tools.gpu_check.measure import Benchmark, measure
from tools.gpu_check.results import Check
from tools.gpu_check.run_checks import Suite


def test_it_ends_with_what_it_started(tmp_path: Path) -> None:
    script = "touch started; (sleep 2; touch late) & sleep 60"
    assert run_within(1 / 60, ["sh", "-c", script], tmp_path) is None
    assert (tmp_path / "started").exists()
    time.sleep(2)
    assert not (tmp_path / "late").exists()


def test_a_command_in_time(tmp_path: Path) -> None:
    assert run_within(1, ["sh", "-c", "exit $X"], tmp_path, {"X": "3"}) == 3


def test_a_check_that_takes_too_long_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_made_up.py").write_text("import time\ndef test_a(): time.sleep(60)\n")
    monkeypatch.setattr(run_checks, "ROOT", tmp_path)
    suite = Suite("x", "x", ("test_made_up.py",), (), minutes=0.01)
    assert run_checks.run(suite, tmp_path) == Check("x", "failed", "ran past 0.01 minutes")


def test_a_benchmark_that_takes_too_long_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_benchmark.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    benchmark = Benchmark("Slow", "µs", "slow_benchmark", (), minutes=0.01)
    check = Check("benchmark: slow", "failed", "ran past 0.01 minutes")
    assert measure(benchmark, tmp_path) == (check, None)
