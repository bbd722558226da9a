"""Every op definition is complete, and its body is standard ONNX that agrees with its ports."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import onnx
import onnx.checker
import onnx.defs
import pytest

from deltaport.custom_ops.definitions import (
    BODY_OPSET,
    DEFINITIONS,
    DIMENSIONS,
    DOMAIN,
    DOMAIN_VERSION,
    OpDefinition,
)
from deltaport.custom_ops.definitions.fragments import VALID_TOKENS

every_op = pytest.mark.parametrize("op", DEFINITIONS.values(), ids=DEFINITIONS)

TOKENWISE = {"AddRMSNorm", "Linear", "QuantizedGather", "QuantizedLinear", "SwiGLU"}
"""Ops to which a padded token is one like any other, as none of their tokens mix."""


def all_nodes(nodes: Iterator[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from all_nodes(iter(attribute.g.node))


def nodes_of(op: OpDefinition) -> list[onnx.NodeProto]:
    return list(all_nodes(iter(op.function.node)))


def test_the_library_is_complete() -> None:
    traced = {"CausalConv1d", "GatedAttention", "GatedDeltaRule", "SparseMoE"}
    fused = {"GatedDeltaRuleNorm", "SharedExpertMoE"}
    quantized = {"QuantizedMoE", "QuantizedSharedExpertMoE"}
    assert set(DEFINITIONS) == traced | fused | quantized | TOKENWISE
    assert all(op.name == name for name, op in DEFINITIONS.items())
    assert DOMAIN == "ai.deltaport"
    assert DOMAIN_VERSION >= 1
    assert BODY_OPSET <= 24


@every_op
def test_the_checker_accepts_the_body(op: OpDefinition) -> None:
    context = onnx.checker.DEFAULT_CONTEXT
    checking = type(context)()
    checking.ir_version = 12
    checking.opset_imports = {"": BODY_OPSET}
    onnx.checker.check_function(op.function, checking)


@every_op
def test_the_function_is_named_after_the_op(op: OpDefinition) -> None:
    function = op.function
    assert (function.domain, function.name, function.overload) == (DOMAIN, op.name, "")
    assert {item.domain: item.version for item in function.opset_import} == {"": BODY_OPSET}
    assert function.doc_string == op.doc


@every_op
def test_ports_are_the_functions_inputs_and_outputs(op: OpDefinition) -> None:
    assert list(op.function.input) == [port.name for port in op.inputs]
    assert list(op.function.output) == [port.name for port in op.outputs]


@every_op
def test_attributes_are_the_functions_with_their_defaults(op: OpDefinition) -> None:
    required = [name for name, attribute in op.attributes.items() if attribute.default is None]
    assert list(op.function.attribute) == required
    found = {a.name: onnx.helper.get_attribute_value(a) for a in op.function.attribute_proto}
    defaults = {name: attribute.default for name, attribute in op.attributes.items()}
    assert found == pytest.approx({n: v for n, v in defaults.items() if v is not None})
    kinds = {"float": onnx.AttributeProto.FLOAT, "int": onnx.AttributeProto.INT}
    for attribute in op.function.attribute_proto:
        assert attribute.type == kinds[op.attributes[attribute.name].dtype]


@every_op
def test_every_attribute_is_used_and_declared(op: OpDefinition) -> None:
    used = {a.ref_attr_name for node in nodes_of(op) for a in node.attribute if a.ref_attr_name}
    assert used == set(op.attributes)


@every_op
def test_the_body_is_standard_onnx(op: OpDefinition) -> None:
    for node in nodes_of(op):
        assert node.domain in ("", "ai.onnx"), node.op_type
        schema = onnx.defs.get_schema(node.op_type, BODY_OPSET, "")
        assert schema.since_version <= 24
        assert not schema.deprecated, node.op_type
        assert {attribute.name for attribute in node.attribute} <= set(schema.attributes)
        assert schema.min_input <= len(node.input) <= schema.max_input, node.op_type
        assert schema.min_output <= len(node.output) <= schema.max_output, node.op_type


@every_op
def test_names_are_given_once(op: OpDefinition) -> None:
    # Branches see the values around them, so their names must not hide any.
    made = Counter([*op.function.input, *(name for node in nodes_of(op) for name in node.output)])
    assert [name for name, count in made.items() if count > 1] == []


@every_op
def test_every_input_is_used_and_nothing_is_made_in_vain(op: OpDefinition) -> None:
    graphs = [a.g for node in nodes_of(op) for a in node.attribute if a.HasField("g")]
    read = {name for node in nodes_of(op) for name in node.input}
    read |= {value.name for graph in graphs for value in graph.output} | set(op.function.output)
    made = {name for node in nodes_of(op) for name in node.output} - {""}
    assert set(op.function.input) <= read
    shared = set(re.findall(r"(\w+) = ", VALID_TOKENS))  # not every body needs all of it
    assert made - read - shared == set()


@every_op
def test_it_is_documented(op: OpDefinition) -> None:
    assert len(op.doc.splitlines()) >= 3
    for port in (*op.inputs, *op.outputs):
        assert port.doc
        assert not port.doc.endswith(".")
        assert port.dtype in ("float", "int64", "uint8", "bfloat16", "T")
        for dim in port.shape.split(","):
            assert re.fullmatch(r"[A-Za-z0-9]+([*+/-][A-Za-z0-9*]+)*", dim), dim
    assert len({port.name for port in (*op.inputs, *op.outputs)}) == len(op.inputs + op.outputs)


@every_op
def test_it_is_ragged(op: OpDefinition) -> None:
    lengths = [(port.dtype, port.shape) for port in op.inputs if port.name == "lengths"]
    assert lengths == ([] if op.name in TOKENWISE else [("int64", "B")])
    assert op.inputs[0].shape.startswith("B,T")
    assert op.outputs[0].shape.startswith("B,T,")


@every_op
def test_a_state_has_one_shape_going_in_and_coming_out(op: OpDefinition) -> None:
    shapes = {port.name: (port.dtype, port.shape) for port in op.inputs}
    states = [port for port in op.outputs if re.match("new_|present_", port.name)]
    assert states or "MoE" in op.name or op.name in TOKENWISE
    for port in states:
        past = port.name.replace("new_", "").replace("present", "past")
        assert shapes[past] == (port.dtype, port.shape)
        assert port.shape.startswith("B,")


@every_op
def test_every_dimension_is_explained(op: OpDefinition) -> None:
    named = {
        name for port in op.inputs + op.outputs for name in re.findall("[A-Za-z]+", port.shape)
    }
    assert named <= set(DIMENSIONS)
    assert all(port.doc for port in op.inputs + op.outputs)
    assert all(attribute.doc for attribute in op.attributes.values())
