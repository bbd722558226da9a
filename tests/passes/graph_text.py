"""Graphs as text, so that a test shows what a pass is given and what it must make of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx.parser
import onnx_ir as ir

from deltaport.graph_passes.recipes.recipe import Recipe, Source
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor

__all__ = ["lines", "parse_graph", "print_graph", "weight"]

HEADER = '<ir_version: 12, opset_import: ["": {opset}, "ai.deltaport": 1]>\n'


def parse_graph(
    text: str, weights: Mapping[str, Recipe] | None = None, *, opset: int = 24
) -> ir.Model:
    """Parse ONNX text: a graph, then functions if there are any.

    Inputs named in ``weights`` become initializers with that recipe.
    """
    model = ir.from_proto(onnx.parser.parse_model(HEADER.format(opset=opset) + text))
    for name, recipe in (weights or {}).items():
        value = next(value for value in model.graph.inputs if value.name == name)
        model.graph.inputs.remove(value)
        value.const_value = RecipeTensor(recipe, name)
        model.graph.register_initializer(value)
    return model


def weight(name: str, *shape: int) -> Source:
    """A float32 checkpoint tensor."""
    return Source(name, shape, np.dtype(np.float32))


def print_graph(graph: ir.Graph) -> str:
    """One line per recipe and per node, constants by value; names and order as they are."""
    return "\n".join([*_recipe_lines(graph), *map(_node_line, graph)])


def lines(text: str) -> str:
    """Text written inside an indented literal, as :func:`print_graph` would print it."""
    return "\n".join(line.strip() for line in text.strip().splitlines())


def _recipe_lines(graph: ir.Graph) -> Iterator[str]:
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if isinstance(tensor, RecipeTensor):
            # What the graph says of the value must be what the recipe makes.
            assert value.name == tensor.name == name
            assert value.shape is not None
            assert tuple(value.shape) == tuple(tensor.shape) == tensor.recipe.shape
            assert value.dtype == tensor.dtype
            yield f"{name} {list(tensor.recipe.shape)} = {tensor.recipe.describe()}"


def _node_line(node: ir.Node) -> str:
    inputs = ", ".join("" if value is None else str(value.name) for value in node.inputs)
    outputs = ", ".join(str(value.name) for value in node.outputs)
    attributes = "".join(f" {a.name}={_attribute(a)}" for a in node.attributes.values())
    domain = f"{node.domain}." if node.domain else ""
    return f"{outputs} = {domain}{node.op_type}({inputs}){attributes}"


def _attribute(attribute: ir.Attr) -> str:
    if attribute.type == ir.AttributeType.GRAPH:
        return f"{{{'; '.join(map(_node_line, attribute.as_graph()))}}}"
    if attribute.type == ir.AttributeType.INTS:
        return str(list(attribute.as_ints()))
    return str(attribute.value)
