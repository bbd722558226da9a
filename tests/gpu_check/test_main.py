"""The whole command, with checks that are made up and a GPU that is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tools.gpu_check import __main__ as command
from tools.gpu_check.measure import Benchmark
from tools.gpu_check.results import LEFT_OUT, STOPPED, read_results
from tools.gpu_check.results_page import page_with, sections_of
from tools.gpu_check.run_checks import Suite

NOT_RUN = Suite("plans", "plans", ("no_such_file.py",), (lambda: "no TensorRT",))
NO_TESTS = Suite("kernels", "kernels", ("no_such_file.py",), ())
NOT_MEASURED = Benchmark("Plans", "tokens a second", "no.such.module", (lambda: "no TensorRT",))

Command = Callable[..., int]


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    page = tmp_path / "page.md"
    page.write_text(page_with(""))
    monkeypatch.setattr(command, "PAGE", page)
    return page


@pytest.fixture
def main(driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: Path) -> Command:
    """The command with these checks."""

    def run(checks: tuple[Suite, ...], *arguments: str) -> int:
        monkeypatch.setattr(command, "CHECKS", checks)
        monkeypatch.setattr(command, "BENCHMARKS", (NOT_MEASURED,))
        return command.main(
            ["--driver", str(driver), "--folder", str(tmp_path / "out"), *arguments]
        )

    return run


@pytest.mark.parametrize(("checks", "status"), [((NOT_RUN,), 0), ((NOT_RUN, NO_TESTS), 1)])
def test_it_writes_the_page_and_ends_with_what_failed(
    main: Command,
    page: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    checks: tuple[Suite, ...],
    status: int,
) -> None:
    assert main(checks) == status
    section = sections_of(page.read_text())["Fake GPU"]
    assert "| card | Fake GPU, 1 GiB |" in section
    assert "| compute capability | 8.9 |" in section
    assert "| plans | not run | no TensorRT |" in section
    assert "| benchmark: plans | not run | no TensorRT |" in section
    assert ("| kernels | failed |" in section) == (status == 1)
    results = read_results(tmp_path / "out" / "results.json")
    assert results.failed == (status == 1)
    assert "plans: not run (no TensorRT)" in capsys.readouterr().out


def test_a_run_that_is_stopped_has_told_what_it_found(
    main: Command, page: Path, tmp_path: Path
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    stopped = Suite("stopped", "where it is stopped", (), (stop,))
    with pytest.raises(KeyboardInterrupt):
        main((NO_TESTS, stopped))
    (found, *others) = read_results(tmp_path / "out" / "results.json").checks
    assert (found.name, found.state) == ("kernels", "failed")
    assert [each.detail for each in others] == [STOPPED, STOPPED]
    assert f"| where it is stopped | not run | {STOPPED} |" in page.read_text()


def test_checks_that_are_chosen(main: Command, tmp_path: Path) -> None:
    checks = (NOT_RUN, NO_TESTS)
    assert main(checks, "--only", "plans", "--only", "benchmark-plans") == 0
    found = read_results(tmp_path / "out" / "results.json").checks
    assert [each.detail for each in found] == ["no TensorRT", LEFT_OUT, "no TensorRT"]


def test_names_are_told(main: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main((NOT_RUN,), "--only", "kernel")
    assert "choose from " in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"^0$"):
        main((NOT_RUN, NO_TESTS), "--help")
    said = " ".join(capsys.readouterr().out.split())
    assert "plans, kernels, benchmark-plans" in said


def test_the_page_of_results_found_elsewhere(
    main: Command, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main((NOT_RUN, NO_TESTS)) == 1
    written, results = page.read_text(), tmp_path / "elsewhere.json"
    (tmp_path / "out" / "results.json").rename(results)
    page.write_text(page_with(""))
    no_gpu = ("--driver", "libno_such_driver.so")
    assert command.main([*no_gpu, "--from", str(results), "--from", str(results)]) == 1
    assert page.read_text() == written
    assert not (tmp_path / "out" / "results.json").exists()
    for wrong in (["--from", str(page)], ["--from", "no.json"], ["--from", "x", "--only", "plans"]):
        with pytest.raises(SystemExit, match=r"^2$"):
            command.main(wrong)
    assert "--from runs nothing" in capsys.readouterr().err
    assert page.read_text() == written
