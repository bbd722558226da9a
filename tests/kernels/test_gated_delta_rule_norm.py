from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.custom_ops.definitions import GATED_DELTA_RULE, GATED_DELTA_RULE_NORM
from deltaport.numerics import Quantity
from tests.kernels import delta_rule_cases
from tests.kernels.delta_rule_cases import GATES, KEYS, Case, with_norm
from tests.kernels.op_runner import (
    assert_close,
    assert_same_bits,
    is_padding,
    poison_padding,
    run_op,
)
from tests.oracles import doubles, rms_norm, silu
from tests.oracles.gated_delta_rule_norm import gated_delta_rule_norm

PER_TOKEN = ("qkv", "z", "a", "b")


def make_case(seed: int, **shape: Any) -> Case:
    return with_norm(delta_rule_cases.make_case(seed, **shape), seed)


def check(case: Case, *, optimized: bool = True, **attributes: Any) -> None:
    o, new_state = run_op(GATED_DELTA_RULE_NORM, case, attributes, optimized=optimized)
    expected_o, expected_state = gated_delta_rule_norm(**case, **attributes)
    assert_close(o, expected_o)
    assert_close(new_state, expected_state, Quantity.STATE)
    assert not o[is_padding(o.shape[1], case["lengths"])].any()


def check_beside_the_rule(case: Case, output_norm_eps: float = 1e-6) -> None:
    """Check norm and gate on the read-out that the rule's own body gives, near zero or not.

    The norm magnifies what is wrong with a read-out that almost cancels, so where there are such,
    only what was made of the same read-out can be compared.
    """
    rule = {port.name: case[port.name] for port in GATED_DELTA_RULE.inputs}
    read_out, state = run_op(GATED_DELTA_RULE, rule)
    o, new_state = run_op(GATED_DELTA_RULE_NORM, case, {"output_norm_eps": output_norm_eps})
    assert_same_bits(new_state, state)
    real = ~is_padding(o.shape[1], case["lengths"])
    heads = doubles(read_out[real]).reshape(-1, *state.shape[1::2])  # [tokens,Hv,Dv]
    expected = np.zeros(o.shape)
    normed = rms_norm(heads, case["norm"], output_norm_eps).reshape(-1, o.shape[2])
    expected[real] = normed * silu(doubles(case["z"][real]))
    assert_close(o, expected)
    assert not o[~real].any()


@pytest.mark.parametrize("heads", [(1, 1), (2, 2), (2, 4), (2, 6)])
@pytest.mark.parametrize("T", [1, 63, 64, 65, 200])
def test_lengths_and_head_ratios(T: int, heads: tuple[int, int]) -> None:
    check(make_case(T, T=T, heads=heads))


@pytest.mark.parametrize("T", [1, 66])
def test_heads_of_full_width(T: int) -> None:
    check(make_case(1, T=T, heads=(1, 2), dims=(128, 128)))


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("keys", KEYS)
def test_keys_and_gates(keys: str, gates: str) -> None:
    case = make_case(0, T=70, keys=keys, gates=gates, lengths=[70, 33])
    check_beside_the_rule(poison_padding(case, *PER_TOKEN))


def test_ragged_rows_with_nan_padding() -> None:
    case = make_case(2, T=130, lengths=[0, 1, 63, 64, 65, 127, 128, 129, 130])
    check(case)
    check(poison_padding(case, *PER_TOKEN))


@pytest.mark.parametrize("name", PER_TOKEN)
@pytest.mark.parametrize("T", [1, 5])
def test_each_input_may_hold_nan_in_its_padding(T: int, name: str) -> None:
    case = make_case(3, T=T, lengths=[0, T, T - 1])
    for poisoned, clean in zip(
        run_op(GATED_DELTA_RULE_NORM, poison_padding(case, name)),
        run_op(GATED_DELTA_RULE_NORM, case),
        strict=True,
    ):
        assert_same_bits(poisoned, clean)


@pytest.mark.parametrize("T", [1, 5])
def test_a_batch_of_empty_rows(T: int) -> None:
    case = poison_padding(make_case(4, T=T, lengths=[0, 0]), *PER_TOKEN)
    o, new_state = run_op(GATED_DELTA_RULE_NORM, case)
    assert not o.any()
    assert_same_bits(new_state, case["state"])


@pytest.mark.parametrize("T", [1, 3, 64, 70])
def test_an_empty_row_keeps_its_state_to_the_bit(T: int) -> None:
    case = make_case(5, T=T, lengths=[0, T])
    case["state"][0, :, 0, :3] = [-0.0, 1e-42, 3e38]
    o, new_state = run_op(GATED_DELTA_RULE_NORM, poison_padding(case, *PER_TOKEN))
    assert not o[0].any()
    assert_same_bits(new_state[0], case["state"][0])


@pytest.mark.parametrize("name", PER_TOKEN)
@pytest.mark.parametrize("T", [1, 70])
def test_a_bad_row_does_not_touch_its_neighbours(T: int, name: str) -> None:
    case = make_case(6, T=T, lengths=[T, T, T])
    clean, clean_state = run_op(GATED_DELTA_RULE_NORM, case)
    case[name][1, 0] = np.nan
    o, new_state = run_op(GATED_DELTA_RULE_NORM, case)
    for row in (0, 2):
        assert_same_bits(o[row], clean[row])
        assert_same_bits(new_state[row], clean_state[row])


def test_closed_and_open_gates() -> None:
    case = make_case(7, T=6)
    case["z"].reshape(6, 4, 12)[:] = np.array([-200, 200, 0, 5])[:, None]
    check(case)


def test_a_read_out_of_zeros_stays_zero() -> None:
    case = make_case(8, T=66, lengths=[66, 30])
    for name in ("qkv", "state"):
        case[name][:] = 0.0
    check(case)


@pytest.mark.parametrize("norm_eps", [1e-6, 1e-2])
@pytest.mark.parametrize("output_norm_eps", [1e-6, 1e-2])
def test_each_norm_has_its_own_eps(output_norm_eps: float, norm_eps: float) -> None:
    case = make_case(9, T=20, keys="tiny", gates="keep and overwrite")
    check(case, norm_eps=norm_eps, output_norm_eps=output_norm_eps)


@pytest.mark.parametrize("T", [1, 70])
def test_without_graph_optimizations(T: int) -> None:
    case = make_case(10, T=T, lengths=[T, 0, T])
    check(poison_padding(case, *PER_TOKEN), optimized=False)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    keys=st.sampled_from(sorted(KEYS)),
    gates=st.sampled_from(sorted(GATES)),
    T=st.integers(1, 140),
    Hk=st.integers(1, 3),
    ratio=st.integers(1, 3),
    dims=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    output_norm_eps=st.sampled_from([1e-6, 1e-2]),
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
    output_norm_eps: float,
    data: st.DataObject,
) -> None:
    lengths = data.draw(st.lists(st.integers(0, T), min_size=1, max_size=3))
    case = make_case(
        seed, T=T, keys=keys, gates=gates, lengths=lengths, heads=(Hk, Hk * ratio), dims=dims
    )
    check_beside_the_rule(poison_padding(case, *PER_TOKEN), output_norm_eps)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), T=st.integers(2, 150), data=st.data())
def test_a_split_sequence_equals_the_whole(seed: int, T: int, data: st.DataObject) -> None:
    split = data.draw(st.integers(1, T - 1))
    case = make_case(seed, T=T, keys="SiLU-shaped")
    # So large an eps does not magnify a read-out that almost cancels.
    eps = {"output_norm_eps": 0.1}
    expected_o, expected_state = gated_delta_rule_norm(**case, **eps)
    state, parts = case["state"], []
    for part in (slice(0, split), slice(split, T)):
        piece = {name: case[name][:, part] for name in PER_TOKEN}
        lengths = np.array([piece["a"].shape[1]], np.int64)
        feeds = case | piece | {"state": state, "lengths": lengths}
        o, state = run_op(GATED_DELTA_RULE_NORM, feeds, eps)
        parts.append(o)
    assert_close(np.concatenate(parts, axis=1), expected_o)
    assert_close(state, expected_state, Quantity.STATE)
