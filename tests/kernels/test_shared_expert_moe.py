from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.custom_ops.definitions import SHARED_EXPERT_MOE
from tests.kernels import moe_cases
from tests.kernels.moe_cases import Case, poison_unchosen
from tests.kernels.op_runner import (
    assert_close,
    assert_same_bits,
    is_padding,
    poison_padding,
    run_op,
)
from tests.oracles.shared_expert_moe import shared_expert_moe

PER_TOKEN = ("x", "router_logits")
ROUTED = ("gate_up", "down")
SHARED = ("shared_gate", "shared_gate_up", "shared_down")


def make_case(seed: int, *, shared_width: int = 7, **shape: Any) -> Case:
    routed = moe_cases.make_case(seed, **shape)
    rng = np.random.default_rng([seed, 1])
    H = routed["x"].shape[2]
    shared = {
        "shared_gate": rng.normal(size=(1, H)) * H**-0.5,
        "shared_gate_up": rng.normal(size=(2 * shared_width, H)) * H**-0.5,
        "shared_down": rng.normal(size=(H, shared_width)) * shared_width**-0.5,
    }
    return routed | {name: array.astype(np.float32) for name, array in shared.items()}


def store(case: Case, names: tuple[str, ...], dtype: type) -> Case:
    return case | {name: case[name].astype(dtype) for name in names}


def check(
    case: Case, top_k: int, *, constants: tuple[str, ...] = (), optimized: bool = True
) -> None:
    (y,) = run_op(
        SHARED_EXPERT_MOE, case, {"top_k": top_k}, constants=constants, optimized=optimized
    )
    assert_close(y, shared_expert_moe(**case, top_k=top_k))
    assert not y[is_padding(y.shape[1], case["lengths"])].any()


@pytest.mark.parametrize("top_k", range(1, 9))
@pytest.mark.parametrize("T", [1, 12])
def test_every_top_k(T: int, top_k: int) -> None:
    check(make_case(T, T=T, lengths=[T, T]), top_k)


@pytest.mark.parametrize("shared_width", [1, 6, 40])
def test_the_shared_expert_has_its_own_width(shared_width: int) -> None:
    check(make_case(1, T=3, shared_width=shared_width), 2)


def test_many_experts_and_tokens() -> None:
    case = make_case(2, T=80, experts=64, dims=(96, 40), lengths=[80, 33], shared_width=72)
    check(case, 8)


def test_without_the_routed_experts() -> None:
    # The shared expert is added once, however many experts a token has.
    case = make_case(3, T=6, lengths=[6, 2])
    case["down"][:] = 0.0
    for top_k in (1, 8):
        check(case, top_k)


def test_without_the_shared_expert() -> None:
    case = make_case(4, T=6, lengths=[6, 2])
    case["shared_down"][:] = 0.0
    check(case, 2)


def test_the_shared_gate_opens_and_closes() -> None:
    case = make_case(5, T=6)
    case["x"][..., 0] = [-100, -10, 0, 10, 100, 1]
    case["shared_gate"][0] = 0.0
    case["shared_gate"][0, 0] = 1.0
    check(case, 2)


def test_unchosen_experts_may_hold_nan() -> None:
    check(poison_unchosen(make_case(6, T=3, experts=32), 2), 2)


def test_padding_may_hold_nan() -> None:
    case = make_case(7, T=6, experts=16, lengths=[0, 1, 5, 6])
    check(poison_padding(poison_unchosen(case, 2), *PER_TOKEN), 2)


@pytest.mark.parametrize("name", PER_TOKEN)
def test_each_input_may_hold_nan_in_its_padding(name: str) -> None:
    case = make_case(8, T=6, lengths=[0, 1, 5, 6])
    (clean,) = run_op(SHARED_EXPERT_MOE, case, {"top_k": 2})
    (y,) = run_op(SHARED_EXPERT_MOE, poison_padding(case, name), {"top_k": 2})
    assert_same_bits(y, clean)


@pytest.mark.parametrize("T", [1, 4])
def test_a_batch_of_empty_rows(T: int) -> None:
    case = poison_unchosen(make_case(9, T=T, lengths=[0, 0]), 2)
    assert np.isnan(case["down"]).all()
    check(poison_padding(case, *PER_TOKEN), 2)


def test_a_bad_token_does_not_touch_the_others() -> None:
    case = make_case(10, T=5, lengths=[5, 5])
    (clean,) = run_op(SHARED_EXPERT_MOE, case, {"top_k": 2})
    case["x"][0, 2] = np.nan
    (y,) = run_op(SHARED_EXPERT_MOE, case, {"top_k": 2})
    good = np.ones(y.shape[:2], bool)
    good[0, 2] = False
    assert_same_bits(y[good], clean[good])


@pytest.mark.parametrize("as_initializer", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_weights(dtype: type, as_initializer: bool) -> None:
    case = store(make_case(11, T=9, experts=16, lengths=[9, 4]), ROUTED + SHARED, dtype)
    check(poison_unchosen(case, 2), 2, constants=ROUTED + SHARED if as_initializer else ())


@pytest.mark.parametrize("name", ROUTED + SHARED)
def test_each_weight_is_stored_as_it_likes(name: str) -> None:
    check(store(make_case(12, T=4, lengths=[4, 1]), (name,), ml_dtypes.bfloat16), 2)


def test_without_graph_optimizations() -> None:
    case = poison_unchosen(make_case(13, T=5, experts=16, lengths=[5, 0, 3]), 2)
    check(poison_padding(case, *PER_TOKEN), 2, optimized=False)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    T=st.integers(1, 10),
    experts=st.integers(1, 12),
    dims=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    shared_width=st.integers(1, 12),
    data=st.data(),
)
def test_any_shape(
    seed: int,
    T: int,
    experts: int,
    dims: tuple[int, int],
    shared_width: int,
    data: st.DataObject,
) -> None:
    lengths = data.draw(st.lists(st.integers(0, T), min_size=1, max_size=4))
    top_k = data.draw(st.integers(1, experts))
    case = make_case(
        seed, T=T, experts=experts, dims=dims, lengths=lengths, shared_width=shared_width
    )
    # On a grid logits tie exactly or differ clearly, so no rounding can change the choice.
    case["router_logits"] = np.round(case["router_logits"] * 4) / 4
    check(poison_padding(poison_unchosen(case, top_k), *PER_TOKEN), top_k)
