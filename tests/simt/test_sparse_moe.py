"""Mixtures whose experts are stored as floats; ``test_quantized_moe`` has the others."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels import moe_cases
from tests.kernels.moe_cases import Case, poison_unchosen
from tests.kernels.op_runner import assert_close, assert_same_bits, is_padding, poison_padding
from tests.kernels.test_shared_expert_moe import PER_TOKEN, ROUTED, SHARED, store
from tests.kernels.test_shared_expert_moe import make_case as make_shared_case
from tests.oracles import Array
from tests.oracles.shared_expert_moe import shared_expert_moe
from tests.oracles.sparse_moe import sparse_moe
from tests.simt.mixture import run_mixture
from tools.gpu_kernels.arguments import Mixture
from tools.gpu_kernels.driver import CudaError
from tools.gpu_kernels.kernel_library import KernelLibrary

EVERY_TYPE = (np.float32, np.float16, ml_dtypes.bfloat16)


def make_case(seed: int, *, shared: int = 0, **shape: Any) -> Case:
    """Without a shared expert, or with one of that width."""
    if shared:
        return make_shared_case(seed, shared_width=shared, **shape)
    return moe_cases.make_case(seed, **shape)


def run(kernels: KernelLibrary, case: Case, top_k: int, *, dtype: str = "float32") -> Array:
    shared = case["shared_down"].shape[1] if "shared_down" in case else 0
    inner = case["down"].shape[2]
    return run_mixture(kernels, case, top_k, inner=inner, shared=shared, dtype=dtype)


def check(kernels: KernelLibrary, case: Case, top_k: int) -> None:
    y = run(kernels, case, top_k)
    oracle = shared_expert_moe if "shared_down" in case else sparse_moe
    assert_close(y, oracle(**case, top_k=top_k))
    assert not y[is_padding(y.shape[1], case["lengths"])].any()


@pytest.mark.parametrize("shared", [0, 7])
@pytest.mark.parametrize("top_k", [1, 2, 7, 8])
@pytest.mark.parametrize("T", [1, 12, 33])
def test_every_top_k(kernels: KernelLibrary, T: int, top_k: int, shared: int) -> None:
    check(kernels, make_case(T, T=T, lengths=[T, T], shared=shared), top_k)


@pytest.mark.parametrize("shared", [0, 1, 17, 40, 70])
@pytest.mark.parametrize("dims", [(1, 1), (33, 17), (64, 16), (300, 40), (1032, 72)])
@pytest.mark.parametrize("T", [2, 30])
def test_widths(kernels: KernelLibrary, T: int, dims: tuple[int, int], shared: int) -> None:
    case = make_case(1, T=T, dims=dims, experts=5, shared=shared)
    check(kernels, poison_unchosen(case, 2), 2)


@pytest.mark.parametrize(("experts", "top_k"), [(512, 10), (256, 8), (1024, 16)])
def test_many_experts(kernels: KernelLibrary, experts: int, top_k: int) -> None:
    case = make_case(2, T=9, experts=experts, dims=(40, 24), lengths=[9, 0, 4], shared=24)
    check(kernels, poison_padding(poison_unchosen(case, top_k), *PER_TOKEN), top_k)


def test_one_expert(kernels: KernelLibrary) -> None:
    check(kernels, make_case(3, T=40, experts=1), 1)


@pytest.mark.parametrize("T", [3, 100])
def test_all_tokens_to_the_same_experts(kernels: KernelLibrary, T: int) -> None:
    case = make_case(4, T=T, experts=32, shared=8)
    case["router_logits"][..., [3, 30]] += 100.0
    check(kernels, poison_unchosen(case, 2), 2)


def test_more_tokens_than_go_through_at_a_time(kernels: KernelLibrary) -> None:
    lengths = [700, 650, 0, 3]
    case = make_case(5, T=700, experts=9, dims=(8, 6), lengths=lengths, shared=5)
    check(kernels, poison_padding(case, *PER_TOKEN), 3)


@pytest.mark.parametrize("T", [1, 4])
def test_a_batch_of_empty_rows(kernels: KernelLibrary, T: int) -> None:
    case = poison_unchosen(make_case(6, T=T, lengths=[0, 0], shared=3), 2)
    check(kernels, poison_padding(case, *PER_TOKEN), 2)


def test_padding_chooses_no_expert(kernels: KernelLibrary) -> None:
    # Padded tokens would all pick the last expert, whose weights are NaN.
    case = make_case(7, T=6, experts=16, lengths=[0, 2, 5])
    case["router_logits"][:, :, -1] = -20.0
    case["router_logits"][is_padding(6, case["lengths"]), -1] = 20.0
    check(kernels, poison_unchosen(case, 2), 2)


@pytest.mark.parametrize("top_k", [1, 3, 7])
def test_ties_go_to_the_lowest_index(kernels: KernelLibrary, top_k: int) -> None:
    case = make_case(8, T=5)
    case["router_logits"][0, 0] = 0.5
    case["router_logits"][0, 1] = [0, 1, 1, 0, 1, 1, 0, 0]
    case["router_logits"][0, 2] = [-1, -1, -1, -1, -1, -1, 3, -1]
    case["router_logits"][0, 3] = [2, 2, 1, 1, 1, 1, 2, 2]
    case["router_logits"][0, 4] = [-0.0, 0.0, -0.0, -1, 0.0, -0.0, 0.0, 0.0]
    check(kernels, poison_unchosen(case, top_k), top_k)


def test_ties_of_experts_that_lanes_share(kernels: KernelLibrary) -> None:
    case = make_case(9, T=3, experts=200)
    case["router_logits"][0, 0] = 1.0
    case["router_logits"][0, 1, 5::32] = 9.0
    case["router_logits"][0, 2, 90:] = 9.0
    check(kernels, poison_unchosen(case, 6), 6)


def test_extreme_logits(kernels: KernelLibrary) -> None:
    case = make_case(10, T=4)
    case["router_logits"][0, 0] = np.linspace(-3e4, 3e4, 8)
    case["router_logits"][0, 1] = np.linspace(5000.0, 5001.0, 8)
    case["router_logits"][0, 2] = np.linspace(-5001.0, -5000.0, 8)
    case["router_logits"][0, 3, 1:6] = -np.inf
    check(kernels, case, 3)


def test_experts_are_summed_up_in_ascending_order(kernels: KernelLibrary) -> None:
    # In another order the third one, whose weight is the largest, would be rounded away.
    case = make_case(19, T=1, experts=3, dims=(1, 1))
    case["router_logits"][0, 0] = [1.0, 1.0, 2.0]
    case["x"][:] = 1.0
    case["gate_up"][:, :, 0] = [128.0, 1.0]  # silu(128) is 128: these outputs are powers of two
    case["down"][:, 0, 0] = [2.0**40, -(2.0**40), 1.0]
    check(kernels, case, 3)


@pytest.mark.parametrize("bad", [np.nan, -np.nan])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_logits_that_are_no_numbers(kernels: KernelLibrary, count: int, bad: float) -> None:
    """Such a token is NaN, and the others have the bits they have without it."""
    case = make_case(11, T=5, experts=40, shared=6)
    clean = run(kernels, case, 3)
    case["router_logits"][0, 2, -count:] = bad
    y = run(kernels, case, 3)
    assert np.isnan(y[0, 2]).all()
    others = np.arange(5) != 2
    assert_same_bits(y[0, others], clean[0, others])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_token_does_not_touch_the_others(kernels: KernelLibrary, bad: float) -> None:
    case = make_case(12, T=20, lengths=[20, 20], shared=5)
    clean = run(kernels, case, 2)
    case["x"][0, 2] = bad
    y = run(kernels, case, 2)
    good = np.ones(y.shape[:2], bool)
    good[0, 2] = False
    assert_same_bits(y[good], clean[good])
    assert np.isnan(y[~good]).all()


@pytest.mark.parametrize("shared", [0, 1])
@pytest.mark.parametrize(("experts", "top_k"), [(255, 1), (1024, 5), (9, 2)])
def test_more_tokens_never_need_less_memory(
    kernels: KernelLibrary, experts: int, top_k: int, shared: int
) -> None:
    """A workspace is made for the most. Pairs of few tokens are cut into more work tiles."""
    arguments = Mixture(rows=1, hidden=1, experts=experts, inner=1, shared_inner=shared)
    arguments.top_k = top_k
    needed = []
    for arguments.tokens in range(1, 1100):
        needed.append(kernels.workspace(arguments))
    assert needed == sorted(needed)
    assert len(set(needed[1023:])) == 1


@pytest.mark.parametrize("dims", [(33, 17), (128, 40)])
@pytest.mark.parametrize("dtype", EVERY_TYPE)
def test_a_token_alone_is_a_token_of_a_batch(
    kernels: KernelLibrary, dtype: type, dims: tuple[int, int]
) -> None:
    case = make_case(13, T=30, dims=dims, lengths=[30, 21], shared=19)
    case = store(case, ROUTED + SHARED, dtype)
    together = run(kernels, case, 3)
    for row, t in [(0, 0), (0, 17), (0, 29), (1, 20)]:
        alone = {name: case[name][row : row + 1, t : t + 1] for name in PER_TOKEN}
        y = run(kernels, case | alone | {"lengths": np.array([1])}, 3)
        assert_same_bits(y[0, 0], together[row, t])


@pytest.mark.parametrize("dims", [(33, 17), (64, 32)])
@pytest.mark.parametrize("dtype", EVERY_TYPE)
def test_stored_types(kernels: KernelLibrary, dtype: type, dims: tuple[int, int]) -> None:
    case = make_case(14, T=9, dims=dims, lengths=[9, 4], shared=12)
    check(kernels, store(case, ROUTED + SHARED, dtype), 2)
    check(kernels, store(case, ("router_logits",), dtype), 2)


@pytest.mark.parametrize("name", ROUTED + SHARED)
def test_each_weight_is_stored_as_it_likes(kernels: KernelLibrary, name: str) -> None:
    case = make_case(15, T=4, lengths=[4, 1], shared=8)
    check(kernels, store(case, (name,), ml_dtypes.bfloat16), 2)


@pytest.mark.parametrize("T", [4, 40])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_activations_of_two_bytes(kernels: KernelLibrary, dtype: str, T: int) -> None:
    """They are read as they are and rounded when they are written, once."""
    case = make_case(16, T=T, dims=(72, 20), lengths=[T, 3], shared=9)
    case["x"] = case["x"].astype(dtype).astype(np.float32)
    exact = run(kernels, case, 2)
    y = run(kernels, case, 2, dtype=dtype)
    assert_same_bits(y, exact.astype(dtype).astype(np.float32))


def test_weights_need_no_alignment(kernels: KernelLibrary) -> None:
    case = store(make_case(17, T=5, dims=(64, 32)), ROUTED, ml_dtypes.bfloat16)
    clean = run(kernels, case, 2)
    for name in ROUTED:
        room = np.empty(case[name].size + 1, case[name].dtype)
        room[1:] = case[name].ravel()
        case[name] = room[1:].reshape(case[name].shape)
        assert case[name].ctypes.data % 16
    assert_same_bits(run(kernels, case, 2), clean)


@pytest.mark.parametrize(("experts", "top_k"), [(1025, 2), (20, 17), (4, 5), (4, 0)])
def test_what_there_is_no_kernel_for_is_refused(
    kernels: KernelLibrary, experts: int, top_k: int
) -> None:
    arguments = Mixture(rows=1, tokens=1, experts=experts, top_k=top_k)
    with pytest.raises(CudaError, match="invalid argument"):
        kernels.run("sparse_moe", arguments, 0)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_shape(kernels: KernelLibrary, data: st.DataObject) -> None:
    draw = data.draw
    T, experts = draw(st.integers(1, 24)), draw(st.integers(1, 40))
    lengths = draw(st.lists(st.integers(0, T), min_size=1, max_size=3))
    dims = draw(st.integers(1, 90)), draw(st.integers(1, 40))
    top_k, shared = draw(st.integers(1, min(experts, 16))), draw(st.integers(0, 40))
    case = make_case(
        draw(st.integers(0, 99)), T=T, experts=experts, dims=dims, lengths=lengths, shared=shared
    )
    case = store(case, ROUTED + (SHARED if shared else ()), draw(st.sampled_from(EVERY_TYPE)))
    # On a grid logits tie exactly or differ clearly, so no rounding can change the choice.
    case["router_logits"] = np.round(case["router_logits"] * 4) / 4
    check(kernels, poison_padding(poison_unchosen(case, top_k), *PER_TOKEN), top_k)
