from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.custom_ops.definitions import SWIGLU
from tests.kernels.op_runner import assert_close, assert_same_bits, run_op
from tests.oracles import Array
from tests.oracles.swiglu import swiglu

Case = dict[str, Array]


def make_case(seed: int, *, B: int = 2, T: int = 5, width: int = 12) -> Case:
    rng = np.random.default_rng(seed)
    return {"gate_up": rng.normal(size=(B, T, 2 * width)).astype(np.float32)}


def check(case: Case, *, optimized: bool = True) -> None:
    (y,) = run_op(SWIGLU, case, optimized=optimized)
    assert_close(y, swiglu(**case))


@pytest.mark.parametrize("width", [1, 2, 7, 64, 4096])
@pytest.mark.parametrize("T", [1, 2, 33])
def test_matches_the_oracle(T: int, width: int) -> None:
    check(make_case(T, T=T, width=width))


def test_the_gate_comes_first() -> None:
    case = {"gate_up": np.array([[[3.0, 0.0, 0.0, 5.0]]], np.float32)}
    (y,) = run_op(SWIGLU, case)
    assert not y.any()
    case = {"gate_up": np.array([[[100.0, -100.0, 0.5, 0.25]]], np.float32)}
    (y,) = run_op(SWIGLU, case)
    assert_close(y, np.array([[[50.0, 0.0]]]))


def test_closed_and_open_gates() -> None:
    case = make_case(1, width=6)
    case["gate_up"][..., :6] = [-200, 200, 0, -5, 5, 88]
    check(case)


def test_large_values_do_not_overflow() -> None:
    case = make_case(2)
    case["gate_up"] *= 1e4
    check(case)


def test_a_bad_token_does_not_touch_the_others() -> None:
    case = make_case(3)
    (clean,) = run_op(SWIGLU, case)
    case["gate_up"][1, 2] = np.nan
    (y,) = run_op(SWIGLU, case)
    good = np.ones(y.shape[:2], bool)
    good[1, 2] = False
    assert_same_bits(y[good], clean[good])
    assert np.isnan(y[1, 2]).all()


def test_without_graph_optimizations() -> None:
    check(make_case(4), optimized=False)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    B=st.integers(1, 4),
    T=st.integers(1, 12),
    width=st.integers(1, 40),
)
def test_any_shape(seed: int, B: int, T: int, width: int) -> None:
    check(make_case(seed, B=B, T=T, width=width))
