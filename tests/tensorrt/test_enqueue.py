"""Calls of plugins against float64; their kernels run on the host, or on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from deltaport.custom_ops.definitions import DEFINITIONS
from deltaport.numerics import Quantity
from tests.kernels import (
    delta_rule_cases,
    moe_cases,
    test_causal_conv1d,
    test_quantized_moe,
    test_shared_expert_moe,
)
from tests.kernels.op_runner import assert_close, assert_same_bits, is_padding, poison_padding
from tests.oracles import Array
from tests.oracles.causal_conv1d import causal_conv1d
from tests.oracles.gated_delta_rule import gated_delta_rule
from tests.oracles.gated_delta_rule_norm import gated_delta_rule_norm
from tests.oracles.shared_expert_moe import shared_expert_moe
from tests.oracles.sparse_moe import sparse_moe
from tests.simt.test_quantized_moe import dense
from tests.tensorrt.mock_host import REQUIRED, Library, Plugin
from tests.tensorrt.test_plugins import refusal, some_attributes, types
from tests.tensorrt.test_ports import OPS

Case = dict[str, Any]
TOKENS = (7, 40)
"""Those the delta rule takes one by one, and those it takes in chunks, of which it has two. Of the
one a mixture multiplies up to 4 pairs of an expert together, of the other up to 16."""
MIXTURE: Any = {"experts": 16, "dims": (33, 17)}
CODES: Any = {"experts": 16, "dims": (33, REQUIRED["inner"])}


def convolution(seed: int, T: int = 7) -> Case:
    case = test_causal_conv1d.make_case(seed, T=T, C=130, lengths=[T, 0, 3])
    return poison_padding(case, "x")


def rule(seed: int, T: int = 7) -> Case:
    case = delta_rule_cases.make_case(seed, T=T, lengths=[T, 0, 3], dims=(128, 33))
    return poison_padding(case, "qkv", "a", "b")


def rule_norm(seed: int, T: int = 7) -> Case:
    return delta_rule_cases.with_norm(rule(seed, T), seed)


def mixture(seed: int, T: int = 7) -> Case:
    return with_padding(moe_cases.make_case(seed, T=T, **MIXTURE, lengths=[T, 0, 3]))


def mixture_and_shared(seed: int, T: int = 7) -> Case:
    make_case = test_shared_expert_moe.make_case
    return with_padding(make_case(seed, T=T, **MIXTURE, lengths=[T, 0, 3], shared_width=19))


def quantized(seed: int, T: int = 7) -> Case:
    """Codes of 8 bits without offsets."""
    make_case = test_quantized_moe.make_case
    return with_padding(make_case(seed, T=T, **CODES, lengths=[T, 0, 3], bits=8))


def quantized_and_shared(seed: int, T: int = 7) -> Case:
    """Codes of 4 bits with offsets, of the shared expert of 8 bits without."""
    shape: Any = {"lengths": [T, 0, 3], "shared": REQUIRED["shared_inner"]}
    make_case = test_quantized_moe.make_case
    return with_padding(make_case(seed, T=T, **CODES, **shape, bits=4, offsets=True))


def dequantized_moe(*, top_k: int, inner: int, shared_inner: int = 0, **case: Array) -> Any:
    """No activation is rounded, as the ops do on CPUs."""
    oracle = shared_expert_moe if shared_inner else sparse_moe
    return oracle(**dense(case, inner, shared_inner), top_k=top_k)


def with_padding(case: Case) -> Case:
    # On a grid that two bytes hold: the choice is the same for activations of every type.
    case["router_logits"] = np.round(case["router_logits"] * 4) / 4
    return poison_padding(case, "x", "router_logits")


CASES: dict[str, tuple[Callable[..., Case], Callable[..., Any]]] = {
    "CausalConv1d": (convolution, causal_conv1d),
    "GatedDeltaRule": (rule, gated_delta_rule),
    "GatedDeltaRuleNorm": (rule_norm, gated_delta_rule_norm),
    "SparseMoE": (mixture, sparse_moe),
    "SharedExpertMoE": (mixture_and_shared, shared_expert_moe),
    "QuantizedMoE": (quantized, dequantized_moe),
    "QuantizedSharedExpertMoE": (quantized_and_shared, dequantized_moe),
}
WITH_STATE = [op for op in OPS if DEFINITIONS[op].in_place]
WITH_ATTRIBUTES = [op for op in OPS if DEFINITIONS[op].attributes]


def as_stored(op: str, case: Case, dtype: str) -> Case:
    ports = DEFINITIONS[op].inputs
    stored = zip(ports, types(op, dtype)[: len(ports)], strict=True)
    return {port.name: case[port.name].astype(np.dtype(kind)) for port, kind in stored}


def room_for_outputs(plugin: Plugin, inputs: Case) -> list[Array]:
    shapes = plugin.output_shapes([array.shape for array in inputs.values()])
    kinds = plugin.output_types([array.dtype.name for array in inputs.values()])
    assert not isinstance(shapes, int)
    assert not isinstance(kinds, int)
    stored = zip(shapes, kinds, strict=True)
    return [np.full(shape, np.nan, np.dtype(kind)) for shape, kind in stored]


def room_to_work(plugin: Plugin, arrays: list[Array]) -> Array:
    shapes = [array.shape for array in arrays]
    size = plugin.workspace([(array.dtype.name, array.shape) for array in arrays], shapes)
    return np.full(size, 0xFF, np.uint8)  # NaN in what nobody wrote


def run(
    adapter: Library,
    op: str,
    case: Case,
    *,
    dtype: str = "float32",
    in_place: bool = False,
    **attributes: Array,
) -> list[Array]:
    """The outputs as stored: a new state, if there is one, last. Activations are of ``dtype``."""
    plugin, inputs = adapter.plugin(op, **attributes), as_stored(op, case, dtype)
    outputs = room_for_outputs(plugin, inputs)
    if in_place:
        outputs[-1] = inputs["state"]
    workspace, attached = room_to_work(plugin, [*inputs.values(), *outputs]), plugin.attach()
    assert attached.enqueue(adapter.device, list(inputs.values()), outputs, workspace) == 0
    return outputs


def check(op: str, case: Case, outputs: list[Array], **attributes: float) -> None:
    expected = CASES[op][1](**case, **attributes)
    expected = expected if isinstance(expected, tuple) else (expected,)
    quantities = (Quantity.OUTPUT, Quantity.STATE)[: len(expected)]
    for found, right, quantity in zip(outputs, expected, quantities, strict=True):
        assert_close(found, right, quantity)
    assert not outputs[0][is_padding(outputs[0].shape[1], case["lengths"])].any()


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("T", TOKENS)
def test_matches_the_oracle(adapter: Library, op: str, T: int) -> None:
    case = CASES[op][0](1, T)
    required = {name: REQUIRED[name] for name in DEFINITIONS[op].attributes if name in REQUIRED}
    check(op, case, run(adapter, op, case), **required)
    assert adapter.host.log() == []


@pytest.mark.parametrize("op", WITH_STATE)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("T", TOKENS)
def test_a_state_may_be_updated_where_it_lies(
    adapter: Library, op: str, dtype: str, T: int
) -> None:
    case = CASES[op][0](2, T)
    output, new_state = run(adapter, op, case, dtype=dtype)
    again, state = run(adapter, op, case, dtype=dtype, in_place=True)
    assert_same_bits(again.astype(np.float32), output.astype(np.float32))
    assert_same_bits(state.astype(np.float32), new_state.astype(np.float32))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("T", TOKENS)
def test_activations_of_two_bytes(adapter: Library, op: str, dtype: str, T: int) -> None:
    """They are read as they are and rounded when they are written, as is no state."""
    case = CASES[op][0](3, T)
    widened = {
        name: array.astype(np.float32) if array.dtype == np.dtype(dtype) else array
        for name, array in as_stored(op, case, dtype).items()
    }
    output, *state = run(adapter, op, case, dtype=dtype)
    exact, *exact_state = run(adapter, op, widened)
    assert output.dtype == np.dtype(dtype)
    assert np.isfinite(exact).all()
    assert_same_bits(output.astype(np.float32), exact.astype(output.dtype).astype(np.float32))
    for found, right in zip(state, exact_state, strict=True):
        assert_same_bits(found.astype(np.float32), right)


@pytest.mark.parametrize("op", WITH_ATTRIBUTES)
def test_attributes_reach_the_kernel(adapter: Library, op: str) -> None:
    case, values = CASES[op][0](4), some_attributes(op)
    outputs = run(adapter, op, case, **values)
    check(op, case, outputs, **{name: value.item() for name, value in values.items()})


@pytest.mark.emulation  # any stream is one to a GPU, or a crash
@pytest.mark.parametrize("op", OPS)
def test_what_a_launch_returns_is_an_error(adapter: Library, op: str) -> None:
    inputs, plugin = as_stored(op, CASES[op][0](5), "float32"), adapter.plugin(op)
    outputs = room_for_outputs(plugin, inputs)
    workspace = room_to_work(plugin, [*inputs.values(), *outputs])
    given = list(inputs.values())
    status = plugin.enqueue(adapter.device, given, outputs, workspace, stream=1)
    assert refusal(adapter, status) == f"{op}: invalid argument"


@pytest.mark.parametrize("op", OPS)
def test_tensors_that_do_not_fit_are_not_touched(adapter: Library, op: str) -> None:
    inputs, plugin = as_stored(op, CASES[op][0](6), "float32"), adapter.plugin(op)
    outputs = [array[..., 1:].copy() for array in room_for_outputs(plugin, inputs)]
    status = plugin.enqueue(adapter.device, list(inputs.values()), outputs)
    assert "does not fit" in refusal(adapter, status)
    assert all(np.isnan(output).all() for output in outputs)
