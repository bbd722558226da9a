from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.op_runner import assert_close, assert_same_bits, is_padding, poison_padding
from tests.kernels.test_causal_conv1d import Case, make_case
from tests.oracles import Array
from tests.oracles.causal_conv1d import causal_conv1d

POINTERS = ("x", "weight", "state", "lengths", "y", "new_state")


class Arguments(ctypes.Structure):
    """``ConvArgs`` of any element."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "tokens", "channels", "taps")),
        *((name, ctypes.c_void_p) for name in POINTERS),
    ]


def convolve(kernels: ctypes.CDLL, arguments: Arguments, dtype: str = "float32") -> bool:
    """Whether there is a kernel of so many taps."""
    function = getattr(kernels, f"causal_conv1d_{dtype}")
    function.restype = ctypes.c_bool
    return bool(function(ctypes.byref(arguments)))


def run(
    kernels: ctypes.CDLL, case: Case, *, dtype: str = "float32", in_place: bool = False
) -> tuple[Array, Array]:
    """``y`` and the new state; all is stored as ``dtype`` and widened again."""
    stored = np.dtype(dtype)
    rows, tokens, channels = case["x"].shape
    y = np.full((rows, tokens, channels), np.nan, stored)
    narrow = {name: case[name].astype(stored) for name in ("x", "weight", "state")}
    new_state = narrow["state"] if in_place else np.full_like(narrow["state"], np.nan)
    arrays = {**case, **narrow, "y": y, "new_state": new_state}
    arguments = Arguments(
        rows=rows,
        tokens=tokens,
        channels=channels,
        taps=case["weight"].shape[1],
        **{name: array.ctypes.data for name, array in arrays.items()},
    )
    assert convolve(kernels, arguments, dtype)
    return y.astype(np.float32), new_state.astype(np.float32)


def check(kernels: ctypes.CDLL, case: Case) -> None:
    y, new_state = run(kernels, case)
    expected_y, expected_state = causal_conv1d(**case)
    assert_close(y, expected_y)
    assert not y[is_padding(y.shape[1], case["lengths"])].any()
    assert_same_bits(new_state, expected_state.astype(np.float32))
    y_in_place, state = run(kernels, case, in_place=True)
    assert_same_bits(y_in_place, y)
    assert_same_bits(state, new_state)


@pytest.mark.parametrize("K", [2, 3, 4])
@pytest.mark.parametrize("T", [1, 2, 3, 63, 64, 65, 130])
def test_matches_the_oracle(kernels: ctypes.CDLL, T: int, K: int) -> None:
    lengths = sorted({0, 1, 2, T - 1, T})
    case = make_case(T, T=T, K=K, C=130, lengths=[n for n in lengths if n <= T])
    check(kernels, poison_padding(case, "x"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_two_bytes(kernels: ctypes.CDLL, dtype: str) -> None:
    stored = np.dtype(dtype)
    case = make_case(1, T=70, C=9, lengths=[70, 3, 2, 1, 0])
    floats = ("x", "weight", "state")
    case |= {name: case[name].astype(stored).astype(np.float32) for name in floats}
    exact, exact_state = run(kernels, case)
    for in_place in (False, True):
        y, new_state = run(kernels, case, dtype=dtype, in_place=in_place)
        assert_same_bits(y, exact.astype(stored).astype(np.float32))
        assert_same_bits(new_state, exact_state)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_state_is_the_very_bits_of_inputs(kernels: ctypes.CDLL, dtype: str) -> None:
    """Those of every number there is, NaN with whatever else its bits say."""
    numbers = np.arange(1 << 16, dtype=np.uint16).reshape(1, 1, -1).view(dtype)
    channels = numbers.size
    weight, state = np.zeros((channels, 2), dtype), np.zeros_like(numbers)
    y, new_state = np.zeros_like(numbers), np.zeros_like(numbers)
    lengths = np.array([1])
    given = (numbers, weight, state, lengths, y, new_state)
    pointers = {name: a.ctypes.data for name, a in zip(POINTERS, given, strict=True)}
    arguments = Arguments(rows=1, tokens=1, channels=channels, taps=2, **pointers)
    assert convolve(kernels, arguments, dtype)
    assert (new_state.view(np.uint16) == numbers.view(np.uint16)).all()


def test_lengths_that_cannot_be_are_the_nearest_that_can(kernels: ctypes.CDLL) -> None:
    """A kernel is timed with inputs that are made up."""
    case = make_case(2, T=70, C=9, lengths=[70, 0, 70])
    wild = case | {"lengths": np.array([71, -1, 2**63 - 1])}
    for found, expected in zip(run(kernels, wild), run(kernels, case), strict=True):
        assert_same_bits(found, expected)


@pytest.mark.parametrize("K", [1, 5, 9])
def test_other_numbers_of_taps_are_refused(kernels: ctypes.CDLL, K: int) -> None:
    assert not convolve(kernels, Arguments(rows=1, tokens=1, taps=K))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_shape(kernels: ctypes.CDLL, data: st.DataObject) -> None:
    T = data.draw(st.integers(1, 140))
    lengths = data.draw(st.lists(st.integers(0, T), min_size=1, max_size=3))
    K, C = data.draw(st.integers(2, 4)), data.draw(st.integers(1, 140))
    check(kernels, poison_padding(make_case(T, T=T, K=K, C=C, lengths=lengths), "x"))
