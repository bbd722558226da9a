"""What the pass proves of the shipped bodies holds: in onnxruntime one buffer does what two do.

Three graph optimization levels, since a runtime may fuse or drop the nodes the proof is about.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper

from deltaport.custom_ops.definitions import (
    BODY_OPSET,
    CAUSAL_CONV1D,
    DEFINITIONS,
    DOMAIN,
    DOMAIN_VERSION,
    GATED_ATTENTION,
    GATED_DELTA_RULE,
    OpDefinition,
)
from deltaport.errors import PassError
from deltaport.graph_passes.decoder_layout import set_layout
from deltaport.graph_passes.verify.verify_in_place_safety import VerifyInPlaceSafety
from deltaport.state_layout import StateLayout, StateTensor
from tests.oracles import Array

Feeds = dict[str, Array]
Pairs = tuple[tuple[str, str], ...]

LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL")
CONV_STATE: Pairs = (("state", "new_state"),)
CACHES: Pairs = (("past_key", "present_key"), ("past_value", "present_value"))


def calling(op: OpDefinition) -> onnx.ModelProto:
    """A model of one call of ``op``, with its shipped body."""
    kinds = {"float": 1, "int64": 7, "T": 1}
    inputs, outputs = (
        [helper.make_tensor_value_info(p.name, kinds[p.dtype], p.shape.split(",")) for p in ports]
        for ports in (op.inputs, op.outputs)
    )
    names = [port.name for port in op.inputs], [port.name for port in op.outputs]
    required = {name: 0.25 for name, a in op.attributes.items() if a.default is None}
    node = helper.make_node(op.name, *names, domain=DOMAIN, **required)
    return helper.make_model(
        helper.make_graph([node], "one_op", inputs, outputs),
        functions=[op.function],
        opset_imports=[
            helper.make_opsetid("", BODY_OPSET),
            helper.make_opsetid(DOMAIN, DOMAIN_VERSION),
        ],
        ir_version=12,
    )


def prove(op: OpDefinition, pairs: Pairs) -> None:
    rows = [
        StateTensor(0, "conv", past, present, ("slots", 1), "float32", "in_place", False)
        for past, present in pairs
    ]
    model = ir.from_proto(calling(op))
    set_layout(model, StateLayout(tuple(rows)))
    VerifyInPlaceSafety()(model)


def test_convolution_and_attention_are_proven() -> None:
    prove(CAUSAL_CONV1D, CONV_STATE)
    prove(GATED_ATTENTION, CACHES)


def test_the_delta_rule_is_refused() -> None:
    with pytest.raises(PassError, match=r"state -> new_state: .* \(update = swap\)"):
        prove(GATED_DELTA_RULE, CONV_STATE)


@cache
def session(name: str, level: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    model = calling(DEFINITIONS[name]).SerializeToString()
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_bound(op: OpDefinition, level: str, feeds: Feeds, outputs: Feeds) -> None:
    """Run with every input and output bound to the memory of the given arrays."""
    runner = session(op.name, level)
    binding = runner.io_binding()
    for name, array in feeds.items():
        binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    for name, array in outputs.items():
        binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    runner.run_with_iobinding(binding)


def check(op: OpDefinition, level: str, feeds: Feeds, pairs: Pairs, result: Array) -> None:
    first = op.outputs[0].name
    apart = {present: np.full_like(feeds[past], 7) for past, present in pairs}
    expected = {first: result.copy()} | apart
    before = {name: array.copy() for name, array in feeds.items()}
    run_bound(op, level, feeds, expected)
    for name, array in feeds.items():
        assert np.array_equal(array, before[name]), f"two buffers, yet {name} was changed"

    shared = {first: result.copy()} | {present: feeds[past] for past, present in pairs}
    run_bound(op, level, feeds, shared)
    for name, array in expected.items():
        assert np.isfinite(array).all()
        assert array.tobytes() == shared[name].tobytes(), name


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("K", [2, 4])
@pytest.mark.parametrize("T", [1, 2, 3, 4, 7, 64])
def test_convolution(T: int, K: int, level: str) -> None:
    for seed, (B, C) in enumerate([(1, 1), (3, 5), (2, 700)]):
        rng = np.random.default_rng(seed)
        feeds = {
            "x": rng.normal(size=(B, T, C)).astype(np.float32),
            "weight": rng.normal(size=(C, K)).astype(np.float32),
            "state": rng.normal(size=(B, K - 1, C)).astype(np.float32),
            "lengths": rng.integers(0, T + 1, B),
        }
        check(CAUSAL_CONV1D, level, feeds, CONV_STATE, np.empty((B, T, C), np.float32))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("T", [1, 2, 5, 33])
def test_attention(T: int, level: str) -> None:
    # A batch of one with one head is where layouts collapse into views of one another.
    for seed, (B, Hq, Hkv, D, R) in enumerate(
        [(1, 1, 1, 4, 2), (3, 4, 2, 8, 4), (2, 6, 1, 64, 64)]
    ):
        rng = np.random.default_rng(seed)
        for room in (0, 40):
            past = rng.integers(0, room + 1, B)
            capacity = int(past.max()) + T + room
            cache_shape = (B, Hkv, capacity, D)

            def normal(*shape: int, rng: np.random.Generator = rng) -> Array:
                return rng.normal(size=shape).astype(np.float32)

            feeds = {
                "q_gate": normal(B, T, Hq * 2 * D),
                "k": normal(B, T, Hkv * D),
                "v": normal(B, T, Hkv * D),
                "q_norm": normal(D),
                "k_norm": normal(D),
                "cos": normal(B, T, R // 2),
                "sin": normal(B, T, R // 2),
                "past_key": normal(*cache_shape),
                "past_value": normal(*cache_shape),
                "lengths": rng.integers(0, T + 1, B),
                "past_lengths": past,
            }
            check(GATED_ATTENTION, level, feeds, CACHES, np.empty((B, T, Hq * D), np.float32))
