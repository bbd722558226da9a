"""The adapter's tables are those of the definitions: a plugin says in words what its ports are."""

from __future__ import annotations

import re

import numpy as np
import pytest

from deltaport.custom_ops.definitions import DEFINITIONS, DOMAIN, DOMAIN_VERSION, Port
from tests.end_to_end.cpp_programs import ROOT
from tests.tensorrt.mock_host import Library

QUANTIZED = ("QuantizedMoE", "QuantizedSharedExpertMoE")
PLUGINS = {
    "causal_conv1d": ("CausalConv1d",),
    "gated_delta_rule": ("GatedDeltaRule", "GatedDeltaRuleNorm"),
    "sparse_moe": ("SparseMoE", "SharedExpertMoE", *QUANTIZED),
}
"""The ops of each folder of kernels."""
OPS = tuple(op for ops in PLUGINS.values() for op in ops)
FIXED = {"int64": "int64", "uint8": "int8", "bfloat16": "bfloat16"}
"""Of dtypes in definitions what kernels for GPUs take them as."""
PORT = re.compile(r"(\w+) (\w+)\[([^]]*)]")


def taken_as(op: str, port: Port) -> str:
    """What a kernel for GPUs reads and writes where the definition has this port."""
    if port.dtype in FIXED:
        return FIXED[port.dtype]
    return "float32" if port.name in DEFINITIONS[op].float32 else "activation"


def test_every_op_with_a_kernel_has_a_plugin(adapter: Library) -> None:
    kernels = (ROOT / "custom_ops" / "kernels").glob("*/cuda.cu")
    assert {source.parent.name for source in kernels} == {*PLUGINS}
    assert tuple(creator.name for creator in adapter.creators) == OPS


@pytest.mark.parametrize("op", OPS)
def test_names_and_versions(adapter: Library, op: str) -> None:
    creator = adapter[op]
    assert creator.kind == "PLUGIN CREATOR_V3ONE"
    assert (creator.version, creator.namespace) == (str(DOMAIN_VERSION), DOMAIN)
    assert adapter.plugin(op).names() == (op, creator.version, creator.namespace)


@pytest.mark.parametrize("op", OPS)
def test_ports_are_those_of_the_definition(adapter: Library, op: str) -> None:
    words = re.fullmatch(r"(\w+)\((.*)\) -> \((.*)\)", adapter.plugin(op).metadata())
    assert words is not None
    name, inputs, outputs = words.groups()
    definition = DEFINITIONS[op]
    assert name == op
    for found, expected in ((inputs, definition.inputs), (outputs, definition.outputs)):
        assert PORT.findall(found) == [
            (taken_as(op, port), port.name, port.shape) for port in expected
        ]


@pytest.mark.parametrize("op", OPS)
def test_attributes_are_those_of_the_definition(adapter: Library, op: str) -> None:
    fields = adapter[op].fields()
    definition = DEFINITIONS[op].attributes
    assert list(fields) == list(definition)
    for name, attribute in definition.items():
        dtype, fallback = fields[name]
        assert dtype == {"float": "float32", "int": "int64"}[attribute.dtype]
        expected = None if attribute.default is None else np.array([attribute.default], dtype)
        assert (fallback is None) == (expected is None)
        assert fallback == expected
