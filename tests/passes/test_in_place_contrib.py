"""Caches of ``GroupQueryAttention`` may be one buffer: in onnxruntime one does what two do.

As ``test_in_place_execution``, for graphs in contrib ops: those that are not proven are refused.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from deltaport.custom_ops.definitions import (
    CAUSAL_CONV1D,
    GATED_ATTENTION,
    GATED_DELTA_RULE,
    OpDefinition,
)
from deltaport.errors import PassError
from deltaport.graph_passes.decoder_layout import set_layout
from deltaport.graph_passes.lower.lower_to_contrib import LowerToContrib
from deltaport.graph_passes.verify.verify_in_place_safety import VerifyInPlaceSafety
from deltaport.state_layout import StateLayout, StateTensor
from tests.kernels.op_runner import Attributes
from tests.oracles import Array
from tests.passes.expansion_runner import lowered, session

Feeds = dict[str, Array]

LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL")
CACHES = {"past_key": "present_key", "past_value": "present_value"}
NORMS = ("q_norm", "k_norm")
ATTRIBUTES = {"scale": 0.25}


def prove(model: ir.Model, pairs: dict[str, str]) -> None:
    rows = [
        StateTensor(0, "recurrent", past, present, ("slots", 1), "float32", "in_place", False)
        for past, present in pairs.items()
    ]
    set_layout(model, StateLayout(tuple(rows)))
    VerifyInPlaceSafety()(model)


def zeros(op: OpDefinition, sizes: dict[str, int]) -> Feeds:
    """Inputs of the sizes their dimensions have, those not named 8."""
    return {
        port.name: np.zeros(
            [sizes.get(dim, 8) for dim in port.shape.split(",")],
            np.int64 if port.dtype == "int64" else np.float32,
        )
        for port in op.inputs
    }


def test_caches_are_proven() -> None:
    feeds = zeros(GATED_ATTENTION, {"Hq*2*D": 64, "Hkv*D": 16, "Hkv": 2, "R/2": 2})
    prove(lowered(LowerToContrib(), GATED_ATTENTION, feeds, ATTRIBUTES, NORMS), CACHES)


@pytest.mark.parametrize(
    ("op", "weights"), [(CAUSAL_CONV1D, ["weight"]), (GATED_DELTA_RULE, [])], ids=["conv", "rule"]
)
def test_other_state_is_refused(op: OpDefinition, weights: list[str]) -> None:
    feeds = zeros(op, {"K": 4, "K-1": 3, "2*Hk*Dk+Hv*Dv": 128 + 64})
    with pytest.raises(PassError, match=r"state -> new_state: .* \(update = swap\)"):
        prove(lowered(LowerToContrib(), op, feeds, {}, weights), {"state": "new_state"})


def run_bound(runner: ort.InferenceSession, feeds: Feeds, outputs: Feeds) -> None:
    """Run with every input and output bound to the memory of the given arrays."""
    binding = runner.io_binding()
    for name, array in feeds.items():
        binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    for name, array in outputs.items():
        binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    runner.run_with_iobinding(binding)


def steps(B: int, T: int, Hq: int, Hkv: int, D: int, R: int) -> Iterator[Feeds]:
    """A full cache, a roomy one, and one that is started."""
    for seed, (most_past, room) in enumerate([(30, 0), (30, 40), (0, 9)]):
        rng = np.random.default_rng(seed)
        past = rng.integers(0, most_past + 1, B)
        capacity = int(past.max()) + T + room
        dims = {"B": B, "T": T, "D": D, "Hkv": Hkv, "R/2": R // 2, "capacity": capacity}
        dims |= {"Hq*2*D": 2 * Hq * D, "Hkv*D": Hkv * D}
        feeds = {
            port.name: rng.normal(size=[dims[dim] for dim in port.shape.split(",")]).astype("f4")
            for port in GATED_ATTENTION.inputs
        }
        yield feeds | {"lengths": np.full(B, T), "past_lengths": past}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("heads", [(1, 1, 8, 8), (4, 2, 16, 4), (6, 1, 64, 64)])
@pytest.mark.parametrize(("B", "T"), [(1, 1), (1, 2), (1, 33), (3, 1)])
def test_one_buffer_does_what_two_do(
    B: int, T: int, heads: tuple[int, int, int, int], level: str
) -> None:
    runner = None
    attributes: Attributes = ATTRIBUTES
    for feeds in steps(B, T, *heads):
        if runner is None:
            norms = {name: feeds[name] for name in NORMS}
            runner = session(
                lowered(LowerToContrib(), GATED_ATTENTION, feeds, attributes, NORMS), norms, level
            )
        given = {name: array for name, array in feeds.items() if name not in NORMS}
        result = np.empty((B, T, heads[0] * heads[2]), np.float32)
        expected = {"o": result} | {CACHES[past]: np.full_like(feeds[past], 7) for past in CACHES}
        before = {name: array.copy() for name, array in given.items()}
        run_bound(runner, given, expected)
        for name, array in given.items():
            assert np.array_equal(array, before[name]), f"two buffers, yet {name} was changed"

        shared = {"o": np.empty_like(result)} | {CACHES[past]: feeds[past] for past in CACHES}
        run_bound(runner, given, shared)
        assert np.isfinite(result).all()
        assert result.tobytes() == shared["o"].tobytes()
        total = feeds["past_lengths"] + T
        for name in CACHES.values():
            for row, used in enumerate(total):
                one, two = shared[name][row, :, :used], expected[name][row, :, :used]
                assert one.tobytes() == two.tobytes(), name
