"""Mixtures whose experts are codes. Activations are not rounded: the oracle is that of floats."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.op_runner import assert_close, assert_same_bits, is_padding, poison_padding
from tests.kernels.test_quantized_moe import Case, every_kind, make_case
from tests.oracles import Array
from tests.oracles.quantized_weights import unpacked
from tests.oracles.shared_expert_moe import shared_expert_moe
from tests.oracles.sparse_moe import sparse_moe
from tests.simt.mixture import run_mixture
from tools.gpu_kernels.kernel_library import KernelLibrary

PER_TOKEN = ("x", "router_logits")


def dense(case: Case, inner: int, shared: int) -> Case:
    """What the codes stand for, in float64, without padding."""
    hidden = case["x"].shape[2]

    def gate_up(codes: Array, scales: Array, width: int) -> Array:
        halves = np.split(unpacked(codes, scales), 2)
        return np.concatenate([rows[:width, :hidden] for rows in halves])

    def down(codes: Array, scales: Array, width: int) -> Array:
        return unpacked(codes, scales)[:hidden, :width]

    def weight(name: str) -> tuple[Array, Array]:
        return case[name], case[f"{name}_scales"]

    def stack(name: str) -> zip[tuple[Array, Array]]:
        return zip(*weight(name), strict=True)

    plain = {name: array for name, array in case.items() if not name.endswith("_scales")}
    plain["gate_up"] = np.stack([gate_up(*expert, inner) for expert in stack("gate_up")])
    plain["down"] = np.stack([down(*expert, inner) for expert in stack("down")])
    if shared:
        plain["shared_gate_up"] = gate_up(*weight("shared_gate_up"), shared)
        plain["shared_down"] = down(*weight("shared_down"), shared)
    return plain


def check(kernels: KernelLibrary, case: Case, top_k: int, inner: int, shared: int = 0) -> None:
    y = run_mixture(kernels, case, top_k, inner=inner, shared=shared)
    oracle = shared_expert_moe if shared else sparse_moe
    assert_close(y, oracle(**dense(case, inner, shared), top_k=top_k))
    assert not y[is_padding(y.shape[1], case["lengths"])].any()


@every_kind
@pytest.mark.parametrize("block", [32, 64, 128, 256])
@pytest.mark.parametrize("T", [2, 19])
def test_blocks(kernels: KernelLibrary, T: int, block: int, bits: int, offsets: bool) -> None:
    case = make_case(
        T, T=T, dims=(300, 150), bits=bits, offsets=offsets, block=block, lengths=[T, T - 1]
    )
    check(kernels, case, 2, 150)


@every_kind
@pytest.mark.parametrize("dims", [(1, 1), (32, 16), (33, 17), (96, 64)])
def test_widths(kernels: KernelLibrary, dims: tuple[int, int], bits: int, offsets: bool) -> None:
    case = make_case(3, T=5, dims=dims, bits=bits, offsets=offsets, shared=37)
    check(kernels, case, 3, dims[1], 37)


@pytest.mark.parametrize("bits", [4, 8])
def test_wider_than_what_lies_in_shared_memory(kernels: KernelLibrary, bits: int) -> None:
    check(kernels, make_case(4, T=2, dims=(1100, 70), bits=bits, block=128), 2, 70)
    check(kernels, make_case(4, T=9, dims=(550, 300), bits=bits, block=128), 2, 300)


def test_many_experts(kernels: KernelLibrary) -> None:
    case = make_case(5, T=6, experts=512, dims=(33, 17), shared=20, lengths=[6, 0, 2])
    check(kernels, poison_padding(case, *PER_TOKEN), 10, 17, 20)


def test_codes_and_floats_in_one_mixture(kernels: KernelLibrary) -> None:
    """The shared expert may stay bfloat16 where the routed ones are codes."""
    routed = make_case(6, T=6)
    names = ("shared_gate", "shared_gate_up", "shared_down")
    every = dense(make_case(6, T=6, shared=20), 20, 20)
    shared = {name: every[name].astype(ml_dtypes.bfloat16) for name in names}
    y = run_mixture(kernels, routed | shared, 2, inner=20, shared=20)
    assert_close(y, shared_expert_moe(**dense(routed, 20, 0), **shared, top_k=2))


@every_kind
@pytest.mark.parametrize("shared", [0, 16])
def test_a_token_alone_is_a_token_of_a_batch(
    kernels: KernelLibrary, shared: int, bits: int, offsets: bool
) -> None:
    case = make_case(7, T=30, dims=(200, 40), shared=shared, bits=bits, offsets=offsets)
    together = run_mixture(kernels, case, 2, inner=40, shared=shared)
    for t in (0, 13, 29):
        alone = {name: case[name][:, t : t + 1] for name in PER_TOKEN}
        one = case | alone | {"lengths": np.array([1])}
        assert_same_bits(
            run_mixture(kernels, one, 2, inner=40, shared=shared)[0, 0], together[0, t]
        )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_activations_of_two_bytes(kernels: KernelLibrary, dtype: str) -> None:
    case = make_case(8, T=5, shared=16, lengths=[5, 3])
    case["x"] = case["x"].astype(dtype).astype(np.float32)
    exact = run_mixture(kernels, case, 2, inner=20, shared=16)
    y = run_mixture(kernels, case, 2, inner=20, shared=16, dtype=dtype)
    assert_same_bits(y, exact.astype(dtype).astype(np.float32))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_shape(kernels: KernelLibrary, data: st.DataObject) -> None:
    draw = data.draw
    T, experts = draw(st.integers(1, 16)), draw(st.integers(2, 6))
    lengths = draw(st.lists(st.integers(0, T), min_size=1, max_size=3))
    dims, shared = (draw(st.integers(1, 140)), draw(st.integers(1, 70))), draw(st.integers(0, 40))
    case = make_case(
        draw(st.integers(0, 99)), T=T, dims=dims, experts=experts, shared=shared,
        bits=draw(st.sampled_from([4, 8])), offsets=draw(st.booleans()),
        block=draw(st.sampled_from([32, 64, 96, 128])), lengths=lengths,
    )  # fmt: skip
    # On a grid logits tie exactly or differ clearly, so no rounding can change the choice.
    case["router_logits"] = np.round(case["router_logits"] * 4) / 4
    top_k = draw(st.integers(1, experts))
    check(kernels, poison_padding(case, *PER_TOKEN), top_k, dims[1], shared)
