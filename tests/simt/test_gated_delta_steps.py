from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.delta_rule_cases import GATES, KEYS, make_case, with_norm
from tests.kernels.op_runner import assert_same_bits, poison_padding
from tests.simt.delta_rule_runner import check, check_in_place, check_two_bytes, run
from tools.gpu_kernels.kernel_library import KernelLibrary


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("keys", KEYS)
def test_keys_and_gates(kernels: KernelLibrary, keys: str, gates: str) -> None:
    check(kernels, "steps", make_case(0, T=9, keys=keys, gates=gates, lengths=[9, 4]))


@pytest.mark.parametrize("heads", [(1, 1), (2, 2), (2, 6)])
@pytest.mark.parametrize("dims", [(128, 128), (64, 128), (127, 33), (1, 1)])
def test_head_ratios_and_sizes(
    kernels: KernelLibrary, heads: tuple[int, int], dims: tuple[int, int]
) -> None:
    case = make_case(1, T=5, heads=heads, dims=dims, lengths=[5, 1])
    check(kernels, "steps", case)
    check(kernels, "steps", with_norm(case, seed=2))


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_activations_of_two_bytes(kernels: KernelLibrary, dtype: str, norm: bool) -> None:
    case = make_case(7, T=6, heads=(1, 2), dims=(128, 128), lengths=[6, 2])
    check_two_bytes(kernels, "steps", with_norm(case, seed=8) if norm else case, dtype)


@pytest.mark.parametrize("kernel", ["steps", "chunks"])
def test_lengths_that_cannot_be_are_the_nearest_that_can(
    kernels: KernelLibrary, kernel: Literal["steps", "chunks"]
) -> None:
    """A kernel is timed with inputs that are made up."""
    case = make_case(9, T=6, lengths=[6, 0, 6])
    wild = case | {"lengths": np.array([7, -1, 2**63 - 1])}
    for found, expected in zip(run(kernels, kernel, wild), run(kernels, kernel, case), strict=True):
        assert_same_bits(found, expected)


def test_no_drift_over_many_tokens(kernels: KernelLibrary) -> None:
    case = make_case(3, T=1000, keys="cosine 0.9", heads=(1, 2), dims=(128, 128))
    check(kernels, "steps", case)


def test_padding_is_not_read_and_rows_without_tokens_keep_their_state(
    kernels: KernelLibrary,
) -> None:
    case = poison_padding(make_case(4, T=6, lengths=[0, 1, 6]), "qkv", "a", "b")
    check(kernels, "steps", case)
    _, new_state = run(kernels, "steps", case)
    assert_same_bits(new_state[0], case["state"][0])


def test_a_state_may_be_updated_where_it_lies(kernels: KernelLibrary) -> None:
    check_in_place(kernels, "steps", make_case(5, T=3, lengths=[3, 2]))


def test_tokens_in_one_call_are_tokens_one_by_one(kernels: KernelLibrary) -> None:
    case = make_case(6, T=4)
    together, final = run(kernels, "steps", case)
    state, parts = case["state"], []
    for t in range(4):
        single = {
            name: np.ascontiguousarray(case[name][:, t : t + 1]) for name in ("qkv", "a", "b")
        }
        one = {**case, **single, "state": state, "lengths": np.array([1])}
        o, state = run(kernels, "steps", one)
        parts.append(o)
    assert_same_bits(np.concatenate(parts, axis=1), together)
    assert_same_bits(state, final)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_shape(kernels: KernelLibrary, data: st.DataObject) -> None:
    draw, size = data.draw, st.integers(1, 40)
    key_heads, group, T = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 6))
    lengths = draw(st.lists(st.integers(0, T), min_size=1, max_size=3))
    heads, dims = (key_heads, key_heads * group), (draw(size), draw(size))
    case = make_case(draw(st.integers(0, 99)), T=T, lengths=lengths, heads=heads, dims=dims)
    check(kernels, "steps", poison_padding(case, "qkv", "a", "b"))
