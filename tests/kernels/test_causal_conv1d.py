from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.custom_ops.definitions import CAUSAL_CONV1D
from deltaport.numerics import Quantity
from tests.kernels.op_runner import (
    assert_close,
    assert_same_bits,
    is_padding,
    poison_padding,
    run_op,
)
from tests.oracles import Array
from tests.oracles.causal_conv1d import causal_conv1d

Case = dict[str, Array]


def make_case(
    seed: int, *, T: int, K: int = 4, C: int = 6, lengths: list[int] | None = None
) -> Case:
    rng = np.random.default_rng(seed)
    lengths = [T] if lengths is None else lengths
    B = len(lengths)
    return {
        "x": rng.normal(size=(B, T, C)).astype(np.float32),
        "weight": rng.normal(size=(C, K)).astype(np.float32),
        "state": rng.normal(size=(B, K - 1, C)).astype(np.float32),
        "lengths": np.array(lengths, np.int64),
    }


def check(case: Case, *, constants: tuple[str, ...] = (), optimized: bool = True) -> None:
    y, new_state = run_op(CAUSAL_CONV1D, case, constants=constants, optimized=optimized)
    expected_y, expected_state = causal_conv1d(**case)
    assert_close(y, expected_y)
    assert not y[is_padding(y.shape[1], case["lengths"])].any()
    # The state is a copy of inputs, so nothing may be lost.
    assert_same_bits(new_state, expected_state.astype(np.float32))


@pytest.mark.parametrize("K", [2, 3, 4, 5])
@pytest.mark.parametrize("T", [1, 2, 3, 5, 64])
def test_matches_the_oracle(T: int, K: int) -> None:
    check(make_case(T, T=T, K=K, lengths=[T, T]))


@pytest.mark.parametrize("K", [2, 3, 4, 5])
def test_ragged_rows(K: int) -> None:
    check(make_case(1, T=6, K=K, lengths=[0, 1, 2, 3, 4, 5, 6]))


def test_padding_may_hold_nan() -> None:
    check(poison_padding(make_case(2, T=7, lengths=[0, 1, 3, 7]), "x"))


def test_a_batch_of_empty_rows() -> None:
    check(poison_padding(make_case(3, T=4, lengths=[0, 0]), "x"))


def test_an_empty_row_keeps_its_state_to_the_bit() -> None:
    case = make_case(4, T=3, lengths=[0, 3])
    case["state"][0, :, :3] = [-0.0, 1e-42, np.inf]
    y, new_state = run_op(CAUSAL_CONV1D, poison_padding(case, "x"))
    assert not y[0].any()
    assert_same_bits(new_state[0], case["state"][0])


def test_a_bad_row_does_not_touch_its_neighbours() -> None:
    case = make_case(5, T=5, lengths=[5, 4, 5])
    clean, clean_state = run_op(CAUSAL_CONV1D, case)
    case["x"][1, 0] = np.nan
    y, new_state = run_op(CAUSAL_CONV1D, case)
    for row in (0, 2):
        assert_same_bits(y[row], clean[row])
        assert_same_bits(new_state[row], clean_state[row])


def test_large_values_saturate_without_overflow() -> None:
    case = make_case(6, T=8)
    case["x"] *= 1e4
    check(case)


@pytest.mark.parametrize("as_initializer", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_weights(dtype: type, as_initializer: bool) -> None:
    case = make_case(7, T=9, lengths=[9, 4])
    case["weight"] = case["weight"].astype(dtype)
    check(case, constants=("weight",) if as_initializer else ())


def test_without_graph_optimizations() -> None:
    check(poison_padding(make_case(8, T=9, lengths=[9, 0, 4]), "x"), optimized=False)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    K=st.integers(2, 5),
    C=st.integers(1, 9),
    T=st.integers(1, 20),
    data=st.data(),
)
def test_any_shape(seed: int, K: int, C: int, T: int, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, T), min_size=1, max_size=4))
    check(poison_padding(make_case(seed, T=T, K=K, C=C, lengths=lengths), "x"))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), K=st.integers(2, 5), T=st.integers(2, 16), data=st.data())
def test_a_split_sequence_equals_the_whole(seed: int, K: int, T: int, data: st.DataObject) -> None:
    split = data.draw(st.integers(1, T - 1))
    case = make_case(seed, T=T, K=K, lengths=[T, T])
    expected_y, expected_state = causal_conv1d(**case)
    state, parts = case["state"], []
    for part in (slice(0, split), slice(split, T)):
        x = case["x"][:, part]
        piece = {**case, "x": x, "state": state, "lengths": np.full(2, x.shape[1], np.int64)}
        y, state = run_op(CAUSAL_CONV1D, piece)
        parts.append(y)
    assert_close(np.concatenate(parts, axis=1), expected_y)
    assert_close(state, expected_state, Quantity.STATE)
