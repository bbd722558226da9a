"""Calls of plugins, whose kernels run on the host, against float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from deltaport.custom_ops.definitions import DEFINITIONS
from deltaport.numerics import Quantity
from tests.kernels import delta_rule_cases, test_causal_conv1d
from tests.kernels.op_runner import assert_close, assert_same_bits, is_padding, poison_padding
from tests.oracles import Array
from tests.oracles.causal_conv1d import causal_conv1d
from tests.oracles.gated_delta_rule import gated_delta_rule
from tests.oracles.gated_delta_rule_norm import gated_delta_rule_norm
from tests.tensorrt.mock_host import Library, Plugin
from tests.tensorrt.test_plugins import refusal, single, types
from tests.tensorrt.test_ports import OPS

Case = dict[str, Any]
TOKENS = (7, 40)
"""Those the delta rule takes one by one, and those it takes in chunks, of which it has two."""


def convolution(seed: int, T: int = 7) -> Case:
    case = test_causal_conv1d.make_case(seed, T=T, C=130, lengths=[T, 0, 3])
    return poison_padding(case, "x")


def rule(seed: int, T: int = 7) -> Case:
    case = delta_rule_cases.make_case(seed, T=T, lengths=[T, 0, 3], dims=(128, 33))
    return poison_padding(case, "qkv", "a", "b")


def rule_norm(seed: int, T: int = 7) -> Case:
    return delta_rule_cases.with_norm(rule(seed, T), seed)


CASES: dict[str, tuple[Callable[..., Case], Callable[..., tuple[Array, Array]]]] = {
    "CausalConv1d": (convolution, causal_conv1d),
    "GatedDeltaRule": (rule, gated_delta_rule),
    "GatedDeltaRuleNorm": (rule_norm, gated_delta_rule_norm),
}


def as_stored(op: str, case: Case, dtype: str) -> Case:
    ports = DEFINITIONS[op].inputs
    stored = zip(ports, types(op, dtype)[: len(ports)], strict=True)
    return {port.name: case[port.name].astype(np.dtype(kind)) for port, kind in stored}


def run(
    plugin: Plugin, op: str, case: Case, *, dtype: str = "float32", in_place: bool = False
) -> tuple[Array, Array]:
    """The output, as stored, and the new state, of activations stored as ``dtype``."""
    inputs = as_stored(op, case, dtype)
    shapes = plugin.output_shapes([array.shape for array in inputs.values()])
    assert not isinstance(shapes, int)
    kinds = plugin.output_types([array.dtype.name for array in inputs.values()])
    assert not isinstance(kinds, int)
    output, new_state = (
        np.full(shape, np.nan, np.dtype(kind)) for shape, kind in zip(shapes, kinds, strict=True)
    )
    if in_place:
        new_state = inputs["state"]
    attached = plugin.attach()
    assert attached.enqueue(list(inputs.values()), [output, new_state]) == 0
    return output, new_state


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("T", TOKENS)
def test_matches_the_oracle(adapter: Library, op: str, T: int) -> None:
    make_case, oracle = CASES[op]
    case = make_case(1, T)
    output, new_state = run(adapter.plugin(op), op, case)
    expected, expected_state = oracle(**case)
    assert_close(output, expected)
    assert_close(new_state, expected_state, Quantity.STATE)
    assert not output[is_padding(T, case["lengths"])].any()
    assert adapter.host.log() == []


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("T", TOKENS)
def test_a_state_may_be_updated_where_it_lies(
    adapter: Library, op: str, dtype: str, T: int
) -> None:
    case = CASES[op][0](2, T)
    output, new_state = run(adapter.plugin(op), op, case, dtype=dtype)
    again, state = run(adapter.plugin(op), op, case, dtype=dtype, in_place=True)
    assert_same_bits(again.astype(np.float32), output.astype(np.float32))
    assert_same_bits(state, new_state)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_activations_of_two_bytes(adapter: Library, op: str, dtype: str) -> None:
    """They are read as they are and rounded when they are written, as is no state."""
    case = CASES[op][0](3)
    stored = as_stored(op, case, dtype)
    widened = {
        name: array.astype(np.float32) if name != "lengths" else array
        for name, array in stored.items()
    }
    exact, exact_state = run(adapter.plugin(op), op, widened)
    output, new_state = run(adapter.plugin(op), op, case, dtype=dtype)
    assert output.dtype == np.dtype(dtype)
    assert_same_bits(new_state.astype(np.float32), exact_state)
    assert_same_bits(output.astype(np.float32), exact.astype(output.dtype).astype(np.float32))


@pytest.mark.parametrize("op", OPS[1:])
def test_attributes_reach_the_kernel(adapter: Library, op: str) -> None:
    make_case, oracle = CASES[op]
    case = make_case(4)
    values = {name: 0.5 + i for i, name in enumerate(DEFINITIONS[op].attributes)}
    plugin = adapter.plugin(op, **{name: single(value) for name, value in values.items()})
    output, new_state = run(plugin, op, case)
    expected, expected_state = oracle(**case, **values)
    assert_close(output, expected)
    assert_close(new_state, expected_state, Quantity.STATE)


@pytest.mark.parametrize("op", OPS)
def test_what_a_launch_returns_is_an_error(adapter: Library, op: str) -> None:
    inputs = list(as_stored(op, CASES[op][0](5), "float32").values())
    plugin = adapter.plugin(op)
    shapes = plugin.output_shapes([array.shape for array in inputs])
    assert not isinstance(shapes, int)
    outputs = [np.zeros(shape, np.float32) for shape in shapes]
    assert refusal(adapter, plugin.enqueue(inputs, outputs, stream=1)) == f"{op}: invalid argument"


@pytest.mark.parametrize("op", OPS)
def test_tensors_that_do_not_fit_are_not_touched(adapter: Library, op: str) -> None:
    inputs = list(as_stored(op, CASES[op][0](6), "float32").values())
    plugin = adapter.plugin(op)
    shapes = plugin.output_shapes([array.shape for array in inputs])
    assert not isinstance(shapes, int)
    outputs = [np.full((*shape[:-1], shape[-1] - 1), np.nan, np.float32) for shape in shapes]
    assert "does not fit" in refusal(adapter, plugin.enqueue(inputs, outputs))
    assert all(np.isnan(output).all() for output in outputs)
