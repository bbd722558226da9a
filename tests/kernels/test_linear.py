from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.custom_ops.definitions import LINEAR
from tests.kernels.op_runner import assert_close, assert_same_bits, run_op
from tests.oracles import Array
from tests.oracles.linear import linear

Case = dict[str, Array]
DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32]
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def make_case(
    seed: int, *, dtype: type, B: int = 2, T: int = 5, widths: tuple[int, int] = (12, 7)
) -> Case:
    rng = np.random.default_rng(seed)
    read, given = widths
    return {
        "x": rng.normal(size=(B, T, read)).astype(np.float32),
        "weight": (rng.normal(size=(given, read)) * read**-0.5).astype(dtype),
    }


def check(case: Case, *, constants: tuple[str, ...] = (), optimized: bool = True) -> None:
    (y,) = run_op(LINEAR, case, constants=constants, optimized=optimized)
    assert_close(y, linear(**case))


@every_dtype
@pytest.mark.parametrize("widths", [(1, 1), (1, 9), (9, 1), (64, 96), (4096, 33)])
@pytest.mark.parametrize("T", [1, 2, 33])
def test_matches_the_oracle(T: int, widths: tuple[int, int], dtype: type) -> None:
    check(make_case(T, dtype=dtype, T=T, widths=widths))


@every_dtype
@pytest.mark.parametrize("optimized", [False, True])
def test_a_stored_weight(optimized: bool, dtype: type) -> None:
    case = make_case(1, dtype=dtype, widths=(64, 48))
    check(case, constants=("weight",), optimized=optimized)


@every_dtype
def test_the_product_is_not_rounded_to_the_weights_type(dtype: type) -> None:
    # In float16 these activations would overflow, and in bfloat16 all be 2^20.
    case = make_case(2, dtype=dtype)
    case["x"] = (2.0**20 + np.arange(case["x"].size, dtype=np.float32)).reshape(case["x"].shape)
    case["weight"] = np.eye(7, 12, dtype=np.float32).astype(dtype)
    (y,) = run_op(LINEAR, case)
    assert_same_bits(y, case["x"][..., :7])


@every_dtype
def test_a_bad_token_does_not_touch_the_others(dtype: type) -> None:
    case = make_case(3, dtype=dtype)
    (clean,) = run_op(LINEAR, case)
    case["x"][1, 2] = np.nan
    (y,) = run_op(LINEAR, case)
    good = np.ones(y.shape[:2], bool)
    good[1, 2] = False
    assert_same_bits(y[good], clean[good])
    assert np.isnan(y[1, 2]).all()


@every_dtype
def test_without_graph_optimizations(dtype: type) -> None:
    check(make_case(4, dtype=dtype), optimized=False)


def test_no_outputs() -> None:
    for T in (1, 33):
        (y,) = run_op(LINEAR, make_case(5, dtype=np.float32, T=T, widths=(8, 0)))
        assert y.shape == (2, T, 0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(DTYPES),
    B=st.integers(1, 4),
    T=st.integers(1, 12),
    widths=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_any_shape(seed: int, dtype: type, B: int, T: int, widths: tuple[int, int]) -> None:
    check(make_case(seed, dtype=dtype, B=B, T=T, widths=widths))
