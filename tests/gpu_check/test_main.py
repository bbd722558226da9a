"""The whole command, with checks that are made up and a GPU that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.gpu_check import __main__ as command
from tools.gpu_check.measure import Benchmark
from tools.gpu_check.results import read_results
from tools.gpu_check.results_page import page_with, sections_of
from tools.gpu_check.run_checks import Suite

NOT_RUN = Suite("plans", ("no_such_file.py",), (lambda: "no TensorRT",))
NO_TESTS = Suite("kernels", ("no_such_file.py",), ())
NOT_MEASURED = Benchmark("Plans", "tokens a second", "no.such.module", (lambda: "no TensorRT",))


@pytest.mark.parametrize(("checks", "status"), [((NOT_RUN,), 0), ((NOT_RUN, NO_TESTS), 1)])
def test_it_writes_the_page_and_ends_with_what_failed(
    driver: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    checks: tuple[Suite, ...],
    status: int,
) -> None:
    page = tmp_path / "page.md"
    page.write_text(page_with(""))
    for name, value in (("PAGE", page), ("CHECKS", checks), ("BENCHMARKS", (NOT_MEASURED,))):
        monkeypatch.setattr(command, name, value)
    assert command.main(["--driver", str(driver), "--folder", str(tmp_path / "out")]) == status
    section = sections_of(page.read_text())["Fake GPU"]
    assert "| card | Fake GPU, 1 GiB |" in section
    assert "| compute capability | 8.9 |" in section
    assert "| plans | not run | no TensorRT |" in section
    assert "| benchmark: plans | not run | no TensorRT |" in section
    assert ("| kernels | failed |" in section) == (status == 1)
    results = read_results(tmp_path / "out" / "results.json")
    assert results.failed == (status == 1)
    assert "plans: not run (no TensorRT)" in capsys.readouterr().out
