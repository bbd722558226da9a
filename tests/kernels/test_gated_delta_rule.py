from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.custom_ops.definitions import GATED_DELTA_RULE
from deltaport.numerics import Quantity
from tests.kernels.delta_rule_cases import GATES, KEYS, Case, make_case
from tests.kernels.op_runner import (
    assert_close,
    assert_same_bits,
    is_padding,
    poison_padding,
    run_op,
)
from tests.oracles.gated_delta_rule import gated_delta_rule


def check(case: Case, *, optimized: bool = True, **attributes: Any) -> None:
    o, new_state = run_op(GATED_DELTA_RULE, case, attributes, optimized=optimized)
    expected_o, expected_state = gated_delta_rule(**case, **attributes)
    assert_close(o, expected_o)
    assert_close(new_state, expected_state, Quantity.STATE)
    assert not o[is_padding(o.shape[1], case["lengths"])].any()


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("keys", KEYS)
def test_keys_and_gates(keys: str, gates: str) -> None:
    check(make_case(0, T=130, keys=keys, gates=gates, lengths=[130, 97]))


@pytest.mark.parametrize("heads", [(1, 1), (2, 2), (2, 4), (2, 6)])
@pytest.mark.parametrize("T", [1, 63, 64, 65, 200])
def test_lengths_and_head_ratios(T: int, heads: tuple[int, int]) -> None:
    check(make_case(T, T=T, heads=heads))


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("keys", ["cosine 0.9", "identical", "SiLU-shaped"])
def test_no_drift_over_4096_tokens_of_full_width(keys: str, gates: str) -> None:
    check(make_case(1, T=4096, keys=keys, gates=gates, heads=(1, 2), dims=(128, 128)))


@pytest.mark.parametrize("gates", ["typical", "mixed"])
def test_ragged_rows_with_nan_padding(gates: str) -> None:
    case = make_case(2, T=130, gates=gates, lengths=[0, 1, 63, 64, 65, 127, 128, 129, 130])
    check(case)
    check(poison_padding(case, "qkv", "a", "b"))


def test_a_batch_of_empty_rows() -> None:
    case = poison_padding(make_case(3, T=5, lengths=[0, 0]), "qkv", "a", "b")
    o, new_state = run_op(GATED_DELTA_RULE, case)
    assert not o.any()
    assert_same_bits(new_state, case["state"])


@pytest.mark.parametrize("T", [1, 3, 64, 70])
def test_an_empty_row_keeps_its_state_to_the_bit(T: int) -> None:
    case = make_case(4, T=T, lengths=[0, T])
    case["state"][0, :, 0, :3] = [-0.0, 1e-42, 3e38]
    o, new_state = run_op(GATED_DELTA_RULE, poison_padding(case, "qkv", "a", "b"))
    assert not o[0].any()
    assert_same_bits(new_state[0], case["state"][0])


@pytest.mark.parametrize("T", [1, 70])
def test_a_bad_row_does_not_touch_its_neighbours(T: int) -> None:
    case = make_case(5, T=T, lengths=[T, T, T])
    clean, clean_state = run_op(GATED_DELTA_RULE, case)
    case["qkv"][1, 0] = np.nan
    o, new_state = run_op(GATED_DELTA_RULE, case)
    for row in (0, 2):
        assert_same_bits(o[row], clean[row])
        assert_same_bits(new_state[row], clean_state[row])


def test_zero_everywhere() -> None:
    case = make_case(6, T=66, lengths=[66, 30])
    for name in ("qkv", "state"):
        case[name][:] = 0.0
    check(case)


@pytest.mark.parametrize("beta_logit", [-5.0, -10.0, -14.0, -18.0, -40.0])
def test_a_faint_beta_is_accurate_for_its_size(beta_logit: float) -> None:
    # Thousands of faint writes add up in the state, so a biased small beta becomes a visible one.
    case = make_case(9, T=1)
    case["state"][:] = 0.0
    case["b"][:] = beta_logit
    check(case)


@pytest.mark.parametrize("norm_eps", [1e-6, 1e-2])
def test_norm_eps_is_an_attribute(norm_eps: float) -> None:
    check(make_case(7, T=20, keys="tiny", gates="keep and overwrite"), norm_eps=norm_eps)


@pytest.mark.parametrize("T", [1, 70])
def test_without_graph_optimizations(T: int) -> None:
    case = make_case(8, T=T, gates="mixed", lengths=[T, 0, T])
    check(poison_padding(case, "qkv", "a", "b"), optimized=False)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    keys=st.sampled_from(sorted(KEYS)),
    gates=st.sampled_from(sorted(GATES)),
    T=st.integers(1, 140),
    Hk=st.integers(1, 3),
    ratio=st.integers(1, 3),
    dims=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    data=st.data(),
)
def test_any_shape(
    seed: int,
    keys: str,
    gates: str,
    T: int,
    Hk: int,
    ratio: int,
    dims: tuple[int, int],
    data: st.DataObject,
) -> None:
    lengths = data.draw(st.lists(st.integers(0, T), min_size=1, max_size=3))
    case = make_case(
        seed, T=T, keys=keys, gates=gates, lengths=lengths, heads=(Hk, Hk * ratio), dims=dims
    )
    check(poison_padding(case, "qkv", "a", "b"))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    gates=st.sampled_from(sorted(GATES)),
    T=st.integers(2, 150),
    data=st.data(),
)
def test_a_split_sequence_equals_the_whole(
    seed: int, gates: str, T: int, data: st.DataObject
) -> None:
    split = data.draw(st.integers(1, T - 1))
    case = make_case(seed, T=T, keys="SiLU-shaped", gates=gates)
    expected_o, expected_state = gated_delta_rule(**case)
    state, parts = case["state"], []
    for part in (slice(0, split), slice(split, T)):
        piece = {name: case[name][:, part] for name in ("qkv", "a", "b")}
        lengths = np.array([piece["a"].shape[1]], np.int64)
        o, state = run_op(GATED_DELTA_RULE, case | piece | {"state": state, "lengths": lengths})
        parts.append(o)
    assert_close(np.concatenate(parts, axis=1), expected_o)
    assert_close(state, expected_state, Quantity.STATE)
