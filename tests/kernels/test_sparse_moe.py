from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.custom_ops.definitions import SPARSE_MOE
from tests.kernels.moe_cases import Case, make_case, poison_unchosen
from tests.kernels.op_runner import (
    assert_close,
    assert_same_bits,
    is_padding,
    peak_growth,
    poison_padding,
    run_op,
)
from tests.oracles.sparse_moe import sparse_moe

PER_TOKEN = ("x", "router_logits")


def check(
    case: Case, top_k: int, *, constants: tuple[str, ...] = (), optimized: bool = True
) -> None:
    (y,) = run_op(SPARSE_MOE, case, {"top_k": top_k}, constants=constants, optimized=optimized)
    assert_close(y, sparse_moe(**case, top_k=top_k))
    assert not y[is_padding(y.shape[1], case["lengths"])].any()


@pytest.mark.parametrize("top_k", range(1, 9))
@pytest.mark.parametrize("T", [1, 12])
def test_every_top_k(T: int, top_k: int) -> None:
    check(make_case(T, T=T, lengths=[T, T]), top_k)


def test_one_expert() -> None:
    check(make_case(1, T=3, experts=1), 1)


def test_many_experts_and_tokens() -> None:
    check(make_case(2, T=80, experts=64, dims=(96, 40), lengths=[80, 33]), 8)


@pytest.mark.parametrize("T", [1, 3])
@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_unchosen_experts_may_hold_nan(top_k: int, T: int) -> None:
    check(poison_unchosen(make_case(3, T=T, experts=32), top_k), top_k)


def test_padding_chooses_no_expert() -> None:
    # Padded tokens would all pick the last expert, whose weights are NaN.
    case = make_case(4, T=6, experts=16, lengths=[0, 2, 5])
    case["router_logits"][:, :, -1] = -20.0
    case["router_logits"][is_padding(6, case["lengths"]), -1] = 20.0
    check(poison_unchosen(case, 2), 2)


def test_padding_may_hold_nan() -> None:
    case = make_case(5, T=6, experts=16, lengths=[0, 1, 5, 6])
    check(poison_padding(poison_unchosen(case, 2), *PER_TOKEN), 2)


@pytest.mark.parametrize("T", [1, 4])
def test_a_batch_of_empty_rows(T: int) -> None:
    case = poison_unchosen(make_case(6, T=T, lengths=[0, 0]), 2)
    assert np.isnan(case["down"]).all()
    check(poison_padding(case, *PER_TOKEN), 2)


def test_a_bad_token_does_not_touch_the_others() -> None:
    case = make_case(7, T=5, lengths=[5, 5])
    (clean,) = run_op(SPARSE_MOE, case, {"top_k": 2})
    case["x"][0, 2] = np.nan
    (y,) = run_op(SPARSE_MOE, case, {"top_k": 2})
    good = np.ones(y.shape[:2], bool)
    good[0, 2] = False
    assert_same_bits(y[good], clean[good])


@pytest.mark.parametrize("top_k", [1, 3, 7])
def test_ties_go_to_the_lowest_index(top_k: int) -> None:
    case = make_case(8, T=4)
    case["router_logits"][0, 0] = 0.5
    case["router_logits"][0, 1] = [0, 1, 1, 0, 1, 1, 0, 0]
    case["router_logits"][0, 2] = [-1, -1, -1, -1, -1, -1, 3, -1]
    case["router_logits"][0, 3] = [2, 2, 1, 1, 1, 1, 2, 2]
    check(poison_unchosen(case, top_k), top_k)


def test_extreme_logits() -> None:
    case = make_case(9, T=3)
    case["router_logits"][0, 0] = np.linspace(-3e4, 3e4, 8)
    case["router_logits"][0, 1] = np.linspace(5000.0, 5001.0, 8)
    case["router_logits"][0, 2] = np.linspace(-5001.0, -5000.0, 8)
    check(case, 2)


@pytest.mark.parametrize("as_initializer", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_weights(dtype: type, as_initializer: bool) -> None:
    case = make_case(10, T=9, experts=16, lengths=[9, 4])
    for name in ("gate_up", "down"):
        case[name] = case[name].astype(dtype)
    constants = ("gate_up", "down") if as_initializer else ()
    check(poison_unchosen(case, 2), 2, constants=constants)


def test_without_graph_optimizations() -> None:
    case = poison_unchosen(make_case(11, T=5, experts=16, lengths=[5, 0, 3]), 2)
    check(poison_padding(case, *PER_TOKEN), 2, optimized=False)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_memory_does_not_grow_with_tokens_times_weights(dtype: type, tmp_path: Path) -> None:
    # Far less than one fp32 copy of all weights (201 MB), let alone one per token (12.9 GB).
    case = make_case(12, T=512, experts=64, dims=(1024, 256))
    for name in ("gate_up", "down"):
        case[name] = case[name].astype(dtype)
    assert peak_growth(SPARSE_MOE, case, {"top_k": 8}, tmp_path) < 100e6


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    T=st.integers(1, 10),
    experts=st.integers(1, 12),
    dims=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    data=st.data(),
)
def test_any_shape(
    seed: int, T: int, experts: int, dims: tuple[int, int], data: st.DataObject
) -> None:
    lengths = data.draw(st.lists(st.integers(0, T), min_size=1, max_size=4))
    top_k = data.draw(st.integers(1, experts))
    case = make_case(seed, T=T, experts=experts, dims=dims, lengths=lengths)
    # On a grid logits tie exactly or differ clearly, so no rounding can change the choice.
    case["router_logits"] = np.round(case["router_logits"] * 4) / 4
    check(poison_padding(poison_unchosen(case, top_k), *PER_TOKEN), top_k)
