from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.custom_ops.definitions import ADD_RMS_NORM
from tests.kernels.op_runner import assert_close, assert_same_bits, run_op
from tests.oracles import Array
from tests.oracles.add_rms_norm import add_rms_norm

Case = dict[str, Array]


def make_case(seed: int, *, B: int = 2, T: int = 5, H: int = 24) -> Case:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.normal(size=(B, T, H)).astype(np.float32),
        "residual": rng.normal(size=(B, T, H)).astype(np.float32),
        "scale": rng.uniform(0.5, 1.5, size=H).astype(np.float32),
    }


def check(case: Case, *, optimized: bool = True, **attributes: float) -> None:
    y, total = run_op(ADD_RMS_NORM, case, attributes, optimized=optimized)
    expected_y, expected_total = add_rms_norm(**case, **attributes)
    assert_close(y, expected_y)
    # One addition rounds once, so the residual stream is known to the bit.
    assert_same_bits(total, expected_total.astype(np.float32))


@pytest.mark.parametrize("H", [1, 2, 7, 64, 4096])
@pytest.mark.parametrize("T", [1, 2, 33])
def test_matches_the_oracle(T: int, H: int) -> None:
    check(make_case(T, T=T, H=H))


@pytest.mark.parametrize("norm_eps", [1e-6, 1e-2, 10.0])
def test_norm_eps_is_an_attribute(norm_eps: float) -> None:
    case = make_case(1)
    case["x"] *= 1e-2
    case["residual"] *= 1e-2
    check(case, norm_eps=norm_eps)


def test_norm_eps_is_1e_6_unless_given() -> None:
    case = {name: array * np.float32(1e-3) for name, array in make_case(2).items()}
    for output, same in zip(
        run_op(ADD_RMS_NORM, case), run_op(ADD_RMS_NORM, case, {"norm_eps": 1e-6}), strict=True
    ):
        assert_same_bits(output, same)


def test_a_token_of_zeros_stays_zero() -> None:
    case = make_case(3)
    case["residual"][0, 1] = -case["x"][0, 1]
    case["x"][1, 2] = case["residual"][1, 2] = 0.0
    check(case)


def test_addends_that_almost_cancel() -> None:
    case = make_case(4)
    case["residual"] = (case["x"] * -(1 + 2.0**-12)).astype(np.float32)
    check(case)


def test_tokens_of_very_different_size() -> None:
    # Each token is judged on its own: beside a token of 1e6 any other would look right.
    case = make_case(5, B=1, T=7)
    size = (10.0 ** np.arange(-3, 4)).astype(np.float32)[:, None]
    case["x"] *= size
    case["residual"] *= size
    for t in range(7):
        check(case | {name: case[name][:, t : t + 1] for name in ("x", "residual")})
    check(case)


@pytest.mark.parametrize("name", ["x", "residual"])
def test_a_bad_token_does_not_touch_the_others(name: str) -> None:
    case = make_case(6)
    clean = run_op(ADD_RMS_NORM, case)
    case[name][1, 2] = np.nan
    good = np.ones((2, 5), bool)
    good[1, 2] = False
    for output, clean_output in zip(run_op(ADD_RMS_NORM, case), clean, strict=True):
        assert_same_bits(output[good], clean_output[good])
        assert np.isnan(output[1, 2]).all()


@pytest.mark.parametrize("optimized", [False, True])
def test_the_scale_as_an_initializer(optimized: bool) -> None:
    # Where runtimes fuse the two nodes.
    case = make_case(7, H=64)
    y, total = run_op(ADD_RMS_NORM, case, constants=("scale",), optimized=optimized)
    expected_y, expected_total = add_rms_norm(**case)
    assert_close(y, expected_y)
    assert_same_bits(total, expected_total.astype(np.float32))


def test_without_graph_optimizations() -> None:
    check(make_case(8), optimized=False)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    B=st.integers(1, 4),
    T=st.integers(1, 12),
    H=st.integers(1, 40),
    norm_eps=st.sampled_from([1e-6, 1e-5, 1e-2]),
)
def test_any_shape(seed: int, B: int, T: int, H: int, norm_eps: float) -> None:
    check(make_case(seed, B=B, T=T, H=H), norm_eps=norm_eps)
