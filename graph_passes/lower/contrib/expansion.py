"""Nodes in place of one call, written as ONNX text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
from numpy.typing import NDArray

from deltaport.custom_ops.definitions import BODY_OPSET
from deltaport.graph_passes.lower.contrib.call import Call
from deltaport.graph_passes.lower.contrib.value_types import CONTRIB, set_types
from deltaport.graph_passes.rewriting import constant, new_node, new_value, replace

__all__ = ["Expansion", "expand"]


@dataclass(frozen=True)
class Expansion:
    """What stands for a call: ``text`` over the names of the op's ports.

    ``values`` are what the text reads besides, and what it reads in place of an input of the call.
    """

    text: str
    values: Mapping[str, ir.Value] = field(default_factory=dict)


def expand(call: Call, expansion: Expansion) -> None:
    """Put the nodes of ``expansion`` where the call stands.

    Every value gets its dtype and shape, and a name made of that of the call's first output.
    ``Constant`` becomes a constant of the graph, and ``Cast`` to the dtype a value has already
    becomes that value.
    """
    node, graph = call.node, call.node.graph
    assert graph is not None, "passes rewrite nodes that are in a graph"
    values: dict[str, ir.Value | None] = {**call.inputs, **expansion.values, "": None}
    outputs = [port.name for port in call.definition.outputs]
    nodes: list[ir.Node] = []
    for proto in _nodes(expansion.text, tuple(filter(None, values)), tuple(outputs)):
        attributes = {each.name: ir.serde.deserialize_attribute(each) for each in proto.attribute}
        if proto.op_type == "Constant":
            values[proto.output[0]] = constant(graph, _array(*attributes.values()))
            continue
        inputs = [values[name] for name in proto.input]
        if _is_idle_cast(proto, inputs, attributes):
            values[proto.output[0]] = inputs[0]
            continue
        given = [
            new_value(f"{node.outputs[0].name}.{name}" if name else "", None, None)
            for name in proto.output
        ]
        nodes.append(new_node(proto.op_type, inputs, given, attributes, domain=proto.domain))
        set_types(nodes[-1], BODY_OPSET)
        values |= {value: made for value, made in zip(proto.output, given, strict=True) if value}
    results = {
        before: after
        for before, name in zip(node.outputs, outputs, strict=True)
        if (after := values[name]) is not None
    }
    replace([node], nodes, results, at=node)


@cache
def _nodes(text: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> list[onnx.NodeProto]:
    """The nodes of a text; layers alike share one."""
    function = onnx.parser.parse_function(
        f'<domain: "lowered", opset_import: ["": {BODY_OPSET}, "{CONTRIB}": 1]>\n'
        f"Expansion ({', '.join(inputs)}) => ({', '.join(outputs)})\n{{\n{text}\n}}"
    )
    return list(function.node)


def _is_idle_cast(
    proto: onnx.NodeProto, inputs: list[ir.Value | None], attributes: dict[str, ir.Attr]
) -> bool:
    if proto.op_type != "Cast" or inputs[0] is None:
        return False
    return inputs[0].dtype == attributes["to"].as_int()


def _array(attribute: ir.Attr) -> NDArray[Any]:
    dtype = np.float32 if attribute.name.startswith("value_float") else np.int64
    return np.array(attribute.value, dtype)
