"""The page, with results that are made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.report import Row

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
from tools.gpu_check.results_page import NOT_YET, page_with, sections_of

RESULTS = Results(
    "Made-up 4090",
    {"card": "Made-up 4090, 24 GiB", "commit": "abc1234, with uncommitted changes"},
    (Check("kernels", "passed", "312 tests"), Check("plans", "not run", "no TensorRT")),
    (
        Figures(
            "Kernels",
            "µs",
            (Row("decode", 12345.678, 20.0, 1.5, 0.812), Row("T =", 9)),
        ),
    ),
)
SECTION = """\
|  |  |
|---|---|
| card | Made-up 4090, 24 GiB |
| commit | abc1234, with uncommitted changes |

| check | result |  |
|---|---|---|
| kernels | passed | 312 tests |
| plans | not run | no TensorRT |

Kernels, in µs:

| case | ours | peer | ratio | limit share |
|---|---|---|---|---|
| decode | 1.235e+04 | 20 | 1.50 | 81% |
| T = | 9 |  |  |  |"""


def test_without_results_it_says_so() -> None:
    page = page_with("")
    assert NOT_YET in page
    assert page_with(page) == page
    assert sections_of(page) == {}


def test_a_section() -> None:
    page = page_with(page_with(""), RESULTS)
    assert NOT_YET not in page
    assert sections_of(page) == {"Made-up 4090": SECTION}
    assert page_with(page) == page


def test_a_card_has_the_newest_results_and_others_stay() -> None:
    other = replace(RESULTS, card="Another card", machine={"card": "another"})
    page = page_with(page_with(page_with(""), RESULTS), other)
    again = replace(RESULTS, checks=(Check("kernels", "failed", "1 of 312: test_x"),), figures=())
    sections = sections_of(page_with(page, again))
    assert list(sections) == ["Another card", "Made-up 4090"]
    assert sections["Another card"] == sections_of(page)["Another card"]
    assert "1 of 312: test_x" in sections["Made-up 4090"]
    assert "312 tests" not in sections["Made-up 4090"]


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_results(RESULTS, tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == RESULTS


def test_a_file_of_something_else(tmp_path: Path) -> None:
    for text in (
        "{}",
        "[]",
        "x",
        '{"card": 1, "machine": {}, "checks": [{"a": 1}], "figures": []}',
    ):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ValueError, match=r"x\.json: not the results of 'make gpu-check' \("):
            read_results(tmp_path / "x.json")


def test_parts_of_a_run_are_one() -> None:
    measured = Check("benchmark: kernels", "passed", "2 figures")
    first = replace(RESULTS, checks=(*RESULTS.checks, measured))
    left_out = (
        Check("kernels", "not run", LEFT_OUT),
        Check("benchmark: kernels", "not run", STOPPED),
    )
    second = replace(first, checks=(left_out[0], Check("plans", "passed", "9 tests"), left_out[1]))
    second = replace(second, figures=())
    expected = replace(first, checks=(first.checks[0], second.checks[1], measured))
    assert merge([first, second]) == merge([second, first, second]) == expected
    assert merge([first]) == first
    failed = replace(second, checks=(Check("benchmark: kernels", "failed", "ended with 1"),))
    assert merge([first, failed]).figures == (), "they are of the run before"


def test_parts_of_two_runs_are_not_one() -> None:
    other = replace(RESULTS, machine={**RESULTS.machine, "commit": "def5678"})
    for two in (other, replace(RESULTS, card="Another card")):
        with pytest.raises(ValueError, match="they are two runs"):
            merge([RESULTS, two])


def test_what_is_not_run_does_not_fail() -> None:
    assert not RESULTS.failed
    assert replace(RESULTS, checks=(Check("kernels", "failed", ""),)).failed
