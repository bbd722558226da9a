from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.custom_ops.definitions import QUANTIZED_MOE, QUANTIZED_SHARED_EXPERT_MOE
from tests.kernels import moe_cases
from tests.kernels.op_runner import (
    assert_close,
    assert_same_bits,
    is_padding,
    poison_padding,
    run_op,
)
from tests.kernels.quantized_cases import random_weight
from tests.oracles import Array
from tests.oracles.quantized_moe import quantized_moe

Case = dict[str, Array]
WEIGHTS = ("gate_up", "gate_up_scales", "down", "down_scales")
every_kind = pytest.mark.parametrize(
    ("bits", "offsets"), [(4, False), (4, True), (8, False), (8, True)]
)


def halves(rng: np.random.Generator, inner: int, hidden: int, **kind: Any) -> tuple[Array, Array]:
    """Gate and up rows, each padded to whole tiles."""
    gate, up = (random_weight(rng, inner, hidden, **kind) for _ in range(2))
    return np.concatenate([gate[0], up[0]]), np.concatenate([gate[1], up[1]])


def make_case(
    seed: int,
    *,
    T: int,
    dims: tuple[int, int] = (40, 20),
    experts: int = 4,
    shared: int = 0,
    bits: int = 4,
    offsets: bool = False,
    block: int = 32,
    lengths: list[int] | None = None,
) -> Case:
    rng = np.random.default_rng([seed, 2])
    hidden, inner = dims
    case = moe_cases.make_case(seed, T=T, experts=experts, dims=dims, lengths=lengths)
    kind: dict[str, Any] = {"bits": bits, "offsets": offsets, "block": block}
    gate_up = [halves(rng, inner, hidden, **kind) for _ in range(experts)]
    down = [random_weight(rng, hidden, inner, **kind) for _ in range(experts)]
    case["gate_up"], case["gate_up_scales"] = map(np.stack, zip(*gate_up, strict=True))
    case["down"], case["down_scales"] = map(np.stack, zip(*down, strict=True))
    if shared:
        # Of another kind than the routed experts.
        kind = {"bits": 12 - bits, "offsets": not offsets, "block": 64}
        case["shared_gate"] = rng.normal(size=(1, hidden)).astype(np.float32) * hidden**-0.5
        gate_up_of_all = halves(rng, shared, hidden, **kind)
        case["shared_gate_up"], case["shared_gate_up_scales"] = gate_up_of_all
        down_of_all = random_weight(rng, hidden, shared, **kind)
        case["shared_down"], case["shared_down_scales"] = down_of_all
    return case


def run(case: Case, top_k: int, inner: int, shared: int = 0, **how: Any) -> Array:
    op = QUANTIZED_SHARED_EXPERT_MOE if shared else QUANTIZED_MOE
    attributes = {"top_k": top_k, "inner": inner} | ({"shared_inner": shared} if shared else {})
    (y,) = run_op(op, case, attributes, **how)
    return y


def check(case: Case, top_k: int, inner: int, shared: int = 0, **how: Any) -> None:
    y = run(case, top_k, inner, shared, **how)
    expected, decided = quantized_moe(case, top_k=top_k, inner=inner, shared_inner=shared)
    if decided.any():
        assert_close(y[decided], expected[decided])
    assert not y[is_padding(y.shape[1], case["lengths"])].any()
    assert np.isfinite(y).all()


@every_kind
@pytest.mark.parametrize("shared", [0, 37])
@pytest.mark.parametrize("T", [1, 2, 9])
def test_matches_the_oracle(T: int, shared: int, bits: int, offsets: bool) -> None:
    case = make_case(T, T=T, bits=bits, offsets=offsets, shared=shared, lengths=[T, max(T - 2, 0)])
    check(case, 2, 20, shared)


@every_kind
@pytest.mark.parametrize("dims", [(1, 1), (32, 16), (33, 17), (128, 64), (300, 40)])
def test_widths(dims: tuple[int, int], bits: int, offsets: bool) -> None:
    case = make_case(3, T=5, dims=dims, bits=bits, offsets=offsets, shared=dims[1])
    check(case, 3, dims[1], dims[1])


@pytest.mark.parametrize("shared", [0, 16])
def test_many_tokens_and_experts(shared: int) -> None:
    check(make_case(4, T=70, experts=12, dims=(96, 32), block=64, shared=shared), 3, 32, shared)


@pytest.mark.parametrize("shared", [0, 16])
def test_stored_weights(shared: int) -> None:
    case = make_case(5, T=4, shared=shared)
    check(case, 2, 20, shared, constants=WEIGHTS)
    check(case, 2, 20, shared, optimized=False)


@pytest.mark.parametrize("shared", [0, 16])
def test_padding_and_its_neighbours(shared: int) -> None:
    case = make_case(6, T=7, shared=shared, lengths=[7, 0, 3])
    clean = run(case, 2, 20, shared)
    poisoned = poison_padding(case, "x", "router_logits")
    assert_same_bits(run(poisoned, 2, 20, shared), clean)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([4, 8]),
    offsets=st.booleans(),
    block=st.sampled_from([32, 64]),
    T=st.integers(1, 6),
    dims=st.tuples(st.integers(1, 80), st.integers(1, 40)),
    experts=st.integers(2, 6),
    shared=st.sampled_from([0, 5, 33]),
    data=st.data(),
)
def test_any_shape(
    seed: int, bits: int, offsets: bool, block: int, T: int, dims: tuple[int, int], experts: int,
    shared: int, data: st.DataObject,
) -> None:  # fmt: skip
    lengths = data.draw(st.lists(st.integers(0, T), min_size=1, max_size=3))
    case = make_case(
        seed, T=T, dims=dims, experts=experts, shared=shared, bits=bits, offsets=offsets,
        block=block, lengths=lengths,
    )  # fmt: skip
    check(case, data.draw(st.integers(1, experts)), dims[1], shared)
