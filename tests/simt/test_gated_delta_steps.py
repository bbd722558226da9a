from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.numerics import Quantity
from tests.kernels.delta_rule_cases import GATES, KEYS, Case, make_case, with_norm
from tests.kernels.op_runner import assert_close, assert_same_bits, is_padding, poison_padding
from tests.oracles import Array
from tests.oracles.gated_delta_rule import gated_delta_rule
from tests.oracles.gated_delta_rule_norm import gated_delta_rule_norm

ACTIVATIONS = ("qkv", "a", "b", "z")
POINTERS = ("qkv", "a", "b", "A_log", "dt_bias", "state", "lengths")


class Arguments(ctypes.Structure):
    """``DeltaStepsArgs`` of any element."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "tokens", "key_heads", "value_heads")),
        *((name, ctypes.c_int64) for name in ("key_dim", "value_dim")),
        *((name, ctypes.c_void_p) for name in POINTERS),
        ("norm_eps", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("z", "norm")),
        ("output_norm_eps", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("o", "new_state")),
    ]


def run(
    kernels: ctypes.CDLL, case: Case, *, dtype: str = "float32", in_place: bool = False
) -> tuple[Array, Array]:
    """``o`` and the new state; activations are stored as ``dtype``, ``o`` is widened again."""
    stored = np.dtype(dtype)
    activations = {name: case[name].astype(stored) for name in ACTIVATIONS if name in case}
    rows, tokens, packed = case["qkv"].shape
    _, value_heads, key_dim, value_dim = case["state"].shape
    o = np.full((rows, tokens, value_heads * value_dim), np.nan, stored)
    state = case["state"].copy()
    new_state = state if in_place else np.full_like(state, np.nan)
    arrays = {**case, **activations, "state": state, "o": o, "new_state": new_state}
    key_heads = (packed - value_heads * value_dim) // (2 * key_dim)
    fields: dict[str, Any] = {name: array.ctypes.data for name, array in arrays.items()}
    arguments = Arguments(
        rows=rows,
        tokens=tokens,
        key_heads=key_heads,
        value_heads=value_heads,
        key_dim=key_dim,
        value_dim=value_dim,
        norm_eps=1e-6,
        output_norm_eps=1e-6,
        **fields,
    )
    getattr(kernels, f"gated_delta_steps_{dtype}")(ctypes.byref(arguments))
    return o.astype(np.float32), new_state


def check(kernels: ctypes.CDLL, case: Case) -> None:
    o, new_state = run(kernels, case)
    oracle = gated_delta_rule_norm if "z" in case else gated_delta_rule
    expected_o, expected_state = oracle(**case)
    assert_close(o, expected_o)
    assert_close(new_state, expected_state, Quantity.STATE)
    assert not o[is_padding(o.shape[1], case["lengths"])].any()


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("keys", KEYS)
def test_keys_and_gates(kernels: ctypes.CDLL, keys: str, gates: str) -> None:
    check(kernels, make_case(0, T=9, keys=keys, gates=gates, lengths=[9, 4]))


@pytest.mark.parametrize("heads", [(1, 1), (2, 2), (2, 6)])
@pytest.mark.parametrize("dims", [(128, 128), (64, 128), (127, 33), (1, 1)])
def test_head_ratios_and_sizes(
    kernels: ctypes.CDLL, heads: tuple[int, int], dims: tuple[int, int]
) -> None:
    case = make_case(1, T=5, heads=heads, dims=dims, lengths=[5, 1])
    check(kernels, case)
    check(kernels, with_norm(case, seed=2))


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("dtype", "half_a_step"), [("bfloat16", 2.0**-8), ("float16", 2.0**-11)])
def test_activations_of_two_bytes(
    kernels: ctypes.CDLL, dtype: str, half_a_step: float, norm: bool
) -> None:
    """They are read as they are and rounded when they are written; the state stays float32."""
    case = make_case(7, T=6, heads=(1, 2), dims=(128, 128), lengths=[6, 2])
    case = with_norm(case, seed=8) if norm else case
    stored = np.dtype(dtype)
    case |= {
        name: case[name].astype(stored).astype(np.float32) for name in ACTIVATIONS if name in case
    }
    exact, exact_state = run(kernels, case)
    o, new_state = run(kernels, case, dtype=dtype)
    assert_same_bits(new_state, exact_state)
    assert_same_bits(o, exact.astype(stored).astype(np.float32))
    assert np.abs(o - exact).max() <= half_a_step * np.abs(exact).max()


def test_no_drift_over_many_tokens(kernels: ctypes.CDLL) -> None:
    check(kernels, make_case(3, T=1000, keys="cosine 0.9", heads=(1, 2), dims=(128, 128)))


def test_padding_is_not_read_and_rows_without_tokens_keep_their_state(
    kernels: ctypes.CDLL,
) -> None:
    case = poison_padding(make_case(4, T=6, lengths=[0, 1, 6]), "qkv", "a", "b")
    check(kernels, case)
    _, new_state = run(kernels, case)
    assert_same_bits(new_state[0], case["state"][0])


def test_a_state_may_be_updated_where_it_lies(kernels: ctypes.CDLL) -> None:
    case = make_case(5, T=3, lengths=[3, 2])
    o, new_state = run(kernels, case)
    o_in_place, state = run(kernels, case, in_place=True)
    assert_same_bits(o_in_place, o)
    assert_same_bits(state, new_state)


def test_tokens_in_one_call_are_tokens_one_by_one(kernels: ctypes.CDLL) -> None:
    case = make_case(6, T=4)
    together, final = run(kernels, case)
    state, parts = case["state"], []
    for t in range(4):
        single = {
            name: np.ascontiguousarray(case[name][:, t : t + 1]) for name in ("qkv", "a", "b")
        }
        o, state = run(kernels, {**case, **single, "state": state, "lengths": np.array([1])})
        parts.append(o)
    assert_same_bits(np.concatenate(parts, axis=1), together)
    assert_same_bits(state, final)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_shape(kernels: ctypes.CDLL, data: st.DataObject) -> None:
    draw, size = data.draw, st.integers(1, 40)
    key_heads, group, T = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 6))
    lengths = draw(st.lists(st.integers(0, T), min_size=1, max_size=3))
    heads, dims = (key_heads, key_heads * group), (draw(size), draw(size))
    case = make_case(draw(st.integers(0, 99)), T=T, lengths=lengths, heads=heads, dims=dims)
    check(kernels, poison_padding(case, "qkv", "a", "b"))
