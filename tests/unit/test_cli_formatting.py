import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaport.cli.formatting import (
    format_bytes,
    format_count,
    format_duration,
    format_estimate,
    format_rate,
    format_seconds,
    plural,
    terminal_safe,
)
from deltaport.cli.wording import describe_left_out, describe_ops


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (1234, "1.23 kB"),
        (9_996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (45_600_000_000, "45.6 GB"),
        (794 * 10**9, "794 GB"),
        (10**18, "1.00 EB"),
        (10**22, "10000 EB"),
    ],
)
def test_format_bytes(count: int, expected: str) -> None:
    assert format_bytes(count) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0"), (688, "688"), (35_000_000_000, "35.0B"), (397 * 10**9, "397B"), (1500, "1.50k")],
)
def test_format_count(count: int, expected: str) -> None:
    assert format_count(count) == expected


@given(st.integers(1000, 10**18))
def test_three_digits_and_never_more(count: int) -> None:
    number, unit = format_bytes(count).split(" ")
    assert len(number.replace(".", "")) == 3
    scale = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15, "EB": 1e18}[unit]
    assert float(number) * scale == pytest.approx(count, rel=0.006)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0.00 s"),
        (0.042, "0.04 s"),
        (9.994, "9.99 s"),
        (9.996, "10.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125.4, "2 min 05 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7620, "2 h 07 min"),
    ],
)
def test_format_seconds(seconds: float, expected: str) -> None:
    assert format_seconds(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0.00 µs"),
        (1.234e-6, "1.23 µs"),
        (999.4e-6, "999 µs"),
        (999.6e-6, "1.00 ms"),
        (0.0456, "45.6 ms"),
        (0.9996, "1.00 s"),
        (12.34, "12.3 s"),
        (1234.5, "1234 s"),
    ],
)
def test_format_duration(seconds: float, expected: str) -> None:
    assert format_duration(seconds) == expected


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (0.1234, "0.12"),
        (1.234, "1.23"),
        (45.67, "45.7"),
        (999.4, "999"),
        (999.6, "1,000"),
        (1234.4, "1,234"),
    ],
)
def test_format_rate(rate: float, expected: str) -> None:
    assert format_rate(rate) == expected


@pytest.mark.parametrize(
    ("mean", "error", "expected"),
    [
        (26.1234, 0.3456, "26.12 ± 0.35"),
        (5754.5, 219.2, "5,754 ± 219"),
        (1.00123, 0.00081, "1.00123 ± 0.00081"),
        (0.0312, 0.0104, "0.031 ± 0.010"),
        (1.23e-7, 3.4e-8, "1.2e-07 ± 3e-08"),
        (1.0, 0.0, "1.0000"),
        (0.0, 0.0, "0.0000"),
        (1.1, 1.7e-17, "1.1000"),
        (1234567.0, 0.0, "1,234,567.0000"),
        (1e250, 1e249, "1.0e+250 ± 1e+249"),
        (float("inf"), 1.0, "inf"),
        (float("inf"), float("nan"), "inf"),
    ],
)
def test_format_estimate(mean: float, error: float, expected: str) -> None:
    assert format_estimate(mean, error) == expected


def test_plural() -> None:
    assert plural(1, "layer") == "1 layer"
    assert plural(0, "layer") == "0 layers"
    assert plural(248_320, "token") == "248,320 tokens"


def test_terminals_get_no_control_characters_but_all_text() -> None:
    text = "line\n\ttab, wide\u3000space, \N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET}"
    assert terminal_safe(text) == text
    assert terminal_safe("\x1b]0;title\x07\r") == "\\x1b]0;title\\x07\\r"
    assert terminal_safe("exe\u202egnp.exe") == "exe\\u202egnp.exe"
    rightwards = "\N{RIGHT-TO-LEFT MARK}שלום"
    assert terminal_safe(rightwards) == rightwards


def test_what_was_left_out() -> None:
    assert describe_left_out({"vision": 0, "mtp": 0, "tied": 0}) == "nothing"
    counts = {"vision": 153, "mtp": 1, "tied": 0}
    assert (
        describe_left_out(counts) == "153 tensors (vision tower), 1 tensor (multi-token prediction)"
    )


def test_ops_by_domain() -> None:
    rows = [
        {"domain": "ai.deltaport", "op": "SparseMoE", "nodes": 4},
        {"domain": "", "op": "MatMul", "nodes": 12},
        {"domain": "", "op": "Cast", "nodes": 9},
    ]
    assert describe_ops(rows) == [
        ("ai.deltaport", "4 x SparseMoE"),
        ("ONNX", "12 x MatMul, 9 x Cast"),
    ]
