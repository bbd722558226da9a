"""Nodes in place of one call, written as ONNX text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
from numpy.typing import NDArray

from deltaport.custom_ops.definitions import BODY_OPSET
from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.value_types import LIKE_INPUT, set_types
from deltaport.graph_passes.rewriting import constant, replace, values_inside

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
    given = {**call.inputs, **expansion.values}
    outputs = tuple(port.name for port in call.definition.outputs)
    function = ir.serde.deserialize_function(_function(expansion.text, tuple(given), outputs))
    while function.outputs:  # one by one: a slice would leave them outputs of the function
        function.outputs.pop()
    for value in function.inputs:
        ir.convenience.replace_all_uses_with(value, given[str(value.name)])
    results: dict[str | None, ir.Value] = {}
    nodes: list[ir.Node] = []
    for made in list(function):
        known = _known(graph, made)
        if known is not None:
            results[made.outputs[0].name] = known
            ir.convenience.replace_all_uses_with(made.outputs[0], known)
            continue
        function.remove(made)
        results |= {value.name: value for value in made.outputs}
        for value in made.outputs:
            value.name = f"{node.outputs[0].name}.{value.name}" if value.name else ""
        for value in values_inside(made):  # names that are all of one graph suit every runtime
            value.name = f"{made.outputs[0].name}.{value.name}"
        set_types(made, BODY_OPSET)
        nodes.append(made)
    replace([node], nodes, {old: results[name] for old, name in _pairs(node, outputs)}, at=node)


def _pairs(node: ir.Node, outputs: Sequence[str]) -> Iterator[tuple[ir.Value, str]]:
    return zip(node.outputs, outputs, strict=True)


@cache
def _function(text: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> onnx.FunctionProto:
    """A text as a function; layers alike share one."""
    domains = ", ".join(f'"{domain}": 1' for domain in LIKE_INPUT)
    return onnx.parser.parse_function(
        f'<domain: "lowered", opset_import: ["": {BODY_OPSET}, {domains}]>\n'
        f"Expansion ({', '.join(inputs)}) => ({', '.join(outputs)})\n{{\n{text}\n}}"
    )


def _known(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
    """What a node gives, where nothing is to compute."""
    if node.op_type == "Constant":
        return constant(graph, _array(*node.attributes.values()))
    value = node.inputs[0]
    if node.op_type == "Cast" and value is not None:
        return value if value.dtype == node.attributes["to"].as_int() else None
    return None


def _array(attribute: ir.Attr) -> NDArray[Any]:
    if attribute.type == ir.AttributeType.TENSOR:
        return attribute.as_tensor().numpy()
    dtype = np.float32 if attribute.name.startswith("value_float") else np.int64
    return np.array(attribute.value, dtype)
