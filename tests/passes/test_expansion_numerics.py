"""Expansions compute what the function bodies of our ops do, in float32 on the CPU.

A body is the op's specification, and takes no part in lowering it. Two kinds of step are run, the
only ones the expansions are for: one row of any length, and several rows of one token. State is
carried from step to step, by either on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import ml_dtypes
import numpy as np
import pytest

from deltaport.custom_ops.definitions import (
    ADD_RMS_NORM,
    CAUSAL_CONV1D,
    GATED_ATTENTION,
    GATED_DELTA_RULE,
    GATED_DELTA_RULE_NORM,
    LINEAR,
    SHARED_EXPERT_MOE,
    SPARSE_MOE,
    SWIGLU,
    OpDefinition,
)
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.lower.lower_to_contrib import LowerToContrib
from deltaport.graph_passes.lower.lower_to_tensorrt import LowerToTensorrt
from deltaport.numerics import Quantity
from tests.kernels.op_runner import Attributes, assert_close, run_op
from tests.oracles import Array
from tests.passes.expansion_runner import lowered, run_lowered, session

Feeds = dict[str, Array]
Dims = dict[str, int]
Draw = Callable[..., Array]

LOWERINGS = (LowerToContrib(), LowerToTensorrt())
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL")
ONE_ROW = (7, 1, 70, 1, 1, 3)
"""Tokens of consecutive steps of one row: a start, single tokens, more than a chunk, a few."""


@pytest.fixture(params=LOWERINGS, ids=lambda lowering: lowering.name)
def lowering(request: pytest.FixtureRequest) -> GraphPass:
    found: GraphPass = request.param
    return found


def normal(rng: np.random.Generator) -> Draw:
    return lambda *shape: rng.normal(size=shape).astype(np.float32)


def check_steps(
    lowering: GraphPass,
    op: OpDefinition,
    steps: Iterator[Feeds],
    attributes: Attributes,
    *,
    weights: Sequence[str] = (),
    state: dict[str, str] | None = None,
    level: str = "ORT_ENABLE_ALL",
) -> None:
    """Run consecutive steps both ways; ``state`` maps inputs to the outputs they are next."""
    state = state or {}
    runner = None
    ours: Feeds = {}
    theirs: Feeds = {}
    for feeds in steps:
        if runner is None:
            runner = session(lowered(lowering, op, feeds, attributes, weights), feeds, level)
        names = [port.name for port in op.outputs]
        expected = dict(zip(names, run_op(op, feeds | ours, attributes), strict=True))
        found = dict(zip(names, run_lowered(runner, feeds | theirs), strict=True))
        for name in names:
            carried = name in state.values()
            kind = Quantity.STATE if carried else Quantity.OUTPUT
            if op is not GATED_ATTENTION or not carried:
                assert_close(found[name], expected[name], kind)
                continue
            total = feeds["past_lengths"] + feeds["lengths"]
            for row, used in enumerate(total):
                assert_close(found[name][row, :, :used], expected[name][row, :, :used], kind)
        ours = {past: expected[present] for past, present in state.items()}
        theirs = {past: found[present] for past, present in state.items()}


def steps_of(B: int, tokens: Sequence[int]) -> Iterator[tuple[int, Array, Array]]:
    """Tokens, lengths and past lengths of consecutive steps; rows start at different places."""
    past = np.arange(B, dtype=np.int64) * 3
    for T in tokens:
        lengths = np.full(B, T, np.int64)
        yield T, lengths, past
        past = past + lengths


BATCHES = pytest.mark.parametrize(
    ("B", "tokens"), [(1, ONE_ROW), (3, (1, 1, 1))], ids=["one row", "three rows, a token each"]
)


@BATCHES
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("C", "K"), [(6, 2), (40, 4)])
def test_causal_conv1d(
    lowering: GraphPass, B: int, tokens: Sequence[int], C: int, K: int, level: str
) -> None:
    draw = normal(np.random.default_rng(B))
    fixed = {"weight": draw(C, K), "state": draw(B, K - 1, C)}
    steps = (
        fixed | {"x": draw(B, T, C), "lengths": lengths} for T, lengths, _ in steps_of(B, tokens)
    )
    state = {"state": "new_state"}
    check_steps(lowering, CAUSAL_CONV1D, steps, {}, weights=["weight"], state=state, level=level)


@BATCHES
@pytest.mark.parametrize("op", [GATED_DELTA_RULE, GATED_DELTA_RULE_NORM], ids=lambda op: op.name)
@pytest.mark.parametrize(("Hk", "Hv", "Dk", "Dv"), [(1, 1, 8, 4), (2, 6, 16, 8), (4, 4, 32, 64)])
def test_gated_delta_rule(
    lowering: GraphPass,
    B: int,
    tokens: Sequence[int],
    op: OpDefinition,
    Hk: int,
    Hv: int,
    Dk: int,
    Dv: int,
) -> None:
    draw = normal(np.random.default_rng(Hv))

    def silu(x: Array) -> Array:
        return (x / (1 + np.exp(-x))).astype(np.float32)

    def feeds() -> Iterator[Feeds]:
        fixed = {
            "A_log": draw(Hv),
            "dt_bias": draw(Hv),
            "norm": 1 + draw(Dv) / 8,
            "state": draw(B, Hv, Dk, Dv),
        }
        for T, lengths, _ in steps_of(B, tokens):
            logits = {"a": 4 * draw(B, T, Hv) - 4, "b": 4 * draw(B, T, Hv) - 2}
            yield (
                fixed
                | logits
                | {
                    "qkv": silu(draw(B, T, 2 * Hk * Dk + Hv * Dv)),
                    "z": draw(B, T, Hv * Dv),
                    "lengths": lengths,
                }
            )

    names = {port.name for port in op.inputs}
    steps = ({name: step[name] for name in step if name in names} for step in feeds())
    weights = [name for name in ("A_log", "dt_bias", "norm") if name in names]
    check_steps(
        lowering, op, steps, {"norm_eps": 1e-5}, weights=weights, state={"state": "new_state"}
    )


@BATCHES
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("Hq", "Hkv", "D", "R"), [(1, 1, 8, 8), (4, 2, 16, 4), (6, 1, 64, 16)])
def test_gated_attention(
    lowering: GraphPass,
    B: int,
    tokens: Sequence[int],
    Hq: int,
    Hkv: int,
    D: int,
    R: int,
    level: str,
) -> None:
    draw, capacity = normal(np.random.default_rng(D)), 100

    def feeds() -> Iterator[Feeds]:
        fixed = {
            "q_norm": 1 + draw(D) / 8,
            "k_norm": 1 + draw(D) / 8,
            "past_key": draw(B, Hkv, capacity, D),
            "past_value": draw(B, Hkv, capacity, D),
        }
        for T, lengths, past in steps_of(B, tokens):
            angle = draw(B, T, R // 2)
            yield fixed | {
                "q_gate": draw(B, T, 2 * Hq * D),
                "k": draw(B, T, Hkv * D),
                "v": draw(B, T, Hkv * D),
                "cos": np.cos(angle),
                "sin": np.sin(angle),
                "lengths": lengths,
                "past_lengths": past,
            }

    check_steps(
        lowering,
        GATED_ATTENTION,
        feeds(),
        {"scale": 0.3, "norm_eps": 1e-5},
        weights=["q_norm", "k_norm"],
        state={"past_key": "present_key", "past_value": "present_value"},
        level=level,
    )


@pytest.mark.parametrize("stored", [np.float32, ml_dtypes.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("op", [SPARSE_MOE, SHARED_EXPERT_MOE], ids=lambda op: op.name)
@pytest.mark.parametrize(("B", "T"), [(1, 9), (3, 1)])
@pytest.mark.parametrize(("E", "top_k"), [(8, 1), (8, 3), (4, 4)])
def test_moe(
    lowering: GraphPass, B: int, T: int, E: int, top_k: int, op: OpDefinition, stored: type
) -> None:
    draw, hidden, width, shared = normal(np.random.default_rng(E * top_k)), 16, 12, 10
    weights = {
        "gate_up": draw(E, 2 * width, hidden),
        "down": draw(E, hidden, width),
        "shared_gate": draw(1, hidden),
        "shared_gate_up": draw(2 * shared, hidden),
        "shared_down": draw(hidden, shared),
    }
    weights = {
        port.name: weights[port.name].astype(stored) for port in op.inputs if port.name in weights
    }
    feeds = weights | {
        "x": draw(B, T, hidden),
        "router_logits": draw(B, T, E),
        "lengths": np.full(B, T, np.int64),
    }
    check_steps(lowering, op, iter([feeds]), {"top_k": top_k}, weights=list(weights))


def test_the_rest(lowering: GraphPass) -> None:
    draw = normal(np.random.default_rng(0))
    sums = {"x": draw(2, 1, 24), "residual": draw(2, 1, 24), "scale": draw(24)}
    check_steps(lowering, ADD_RMS_NORM, iter([sums]), {"norm_eps": 1e-5}, weights=["scale"])
    check_steps(lowering, SWIGLU, iter([{"gate_up": 4 * draw(1, 5, 24)}]), {})
    for stored in (np.float16, ml_dtypes.bfloat16):
        product = {"x": draw(1, 5, 24), "weight": draw(7, 24).astype(stored)}
        check_steps(lowering, LINEAR, iter([product]), {}, weights=["weight"])
