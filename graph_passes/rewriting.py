"""What passes match and build graphs with."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor

__all__ = [
    "constant",
    "constant_of",
    "is_op",
    "new_node",
    "new_value",
    "new_weight",
    "producer",
    "read_by",
    "read_by_only",
    "recipe_of",
    "replace",
    "set_recipe",
    "static_dims",
    "subgraphs",
    "used_once",
    "values_inside",
]

_NAMED_ELEMENTS = 8
"""Constants of at most so many elements are named by their values."""


def is_op(node: ir.Node | None, op_type: str, domain: str = "") -> bool:
    """Whether there is a node and it is a call of that op."""
    return node is not None and node.op_type == op_type and node.domain == domain


def producer(value: ir.Value | None, op_type: str, domain: str = "") -> ir.Node | None:
    """The node that makes ``value``, if it is a call of that op."""
    node = None if value is None else value.producer()
    return node if is_op(node, op_type, domain) else None


def used_once(value: ir.Value) -> bool:
    """Whether exactly one input of one node reads ``value``, and nobody outside the graph."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def read_by_only(value: ir.Value, nodes: Collection[ir.Node]) -> bool:
    """Whether ``value`` is read, and by none but ``nodes``."""
    readers = {use.node for use in value.uses()}
    return bool(readers) and readers <= set(nodes) and not value.is_graph_output()


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs a node has for attributes."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def values_inside(node: ir.Node) -> Iterator[ir.Value]:
    """What the subgraphs of a node are given, hold and compute, at any depth."""
    for graph in subgraphs(node):
        yield from graph.inputs
        yield from tuple(graph.initializers.values())  # renaming one changes the mapping
        for inner in graph:
            yield from inner.outputs
            yield from values_inside(inner)


def read_by(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, and what its subgraphs read of the graphs around them."""
    yield from (value for value in node.inputs if value is not None)
    own = set(values_inside(node))
    for graph in subgraphs(node):
        for inner in graph:
            yield from (value for value in read_by(inner) if value not in own)


def static_dims(value: ir.Value | None) -> tuple[int | None, ...]:
    """The sizes of a value's dimensions, None for those not known; empty where no shape is."""
    if value is None or value.shape is None:
        return ()
    return tuple(dim if isinstance(dim, int) else None for dim in value.shape)


def recipe_of(value: ir.Value | None) -> Recipe | None:
    """The recipe of a weight; None for anything else."""
    tensor = None if value is None else value.const_value
    return tensor.recipe if isinstance(tensor, RecipeTensor) else None


def constant_of(value: ir.Value | None) -> NDArray[Any] | None:
    """The value of a constant of the graph; None for weights and what is computed."""
    if value is None or isinstance(value.const_value, RecipeTensor):
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def new_value(name: str, dtype: ir.DataType | None, shape: Iterable[Any] | None) -> ir.Value:
    """A value for a new node to give."""
    return ir.Value(
        name=name,
        type=None if dtype is None else ir.TensorType(dtype),
        shape=None if shape is None else ir.Shape(shape),
    )


def new_node(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    outputs: Sequence[ir.Value],
    attributes: Mapping[str, Any] | None = None,
    *,
    domain: str = "",
) -> ir.Node:
    """A node that is in no graph yet."""
    return ir.node(op_type, inputs, attributes, domain=domain, outputs=outputs)


def new_weight(graph: ir.Graph, name: str, recipe: Recipe) -> ir.Value:
    """A weight made by ``recipe``; ``name`` must be free."""
    tensor = RecipeTensor(recipe, name)
    value = ir.Value(
        name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor
    )
    graph.register_initializer(value)
    return value


def constant(graph: ir.Graph, array: NDArray[Any]) -> ir.Value:
    """A constant of the graph, the same one for the same values; named by what it holds."""
    name = _constant_name(array)
    if name not in graph.initializers:
        tensor = ir.Tensor(array, name=name)
        value = ir.Value(
            name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor
        )
        graph.register_initializer(value)
    return graph.initializers[name]


def _constant_name(array: NDArray[Any]) -> str:
    kind = f"const.{array.dtype.name}"
    dims = "x".join(map(str, array.shape)) or "scalar"
    if 0 < array.size <= _NAMED_ELEMENTS and array.dtype.kind in "iub":
        return f"{kind}.{dims}." + "_".join(str(int(x)) for x in array.flat)
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return f"{kind}.{dims}.{digest[:16]}"


def set_recipe(weight: ir.Value, recipe: Recipe) -> None:
    """Make ``weight`` what ``recipe`` gives; whoever reads it must want that."""
    assert weight.name is not None, "weights have names"
    tensor = RecipeTensor(recipe, weight.name)
    weight.const_value, weight.shape = tensor, tensor.shape
    weight.type = ir.TensorType(tensor.dtype)


def replace(
    old: Sequence[ir.Node],
    new: Sequence[ir.Node],
    values: Mapping[ir.Value, ir.Value],
    *,
    at: ir.Node,
) -> None:
    """Put ``new`` where ``at`` stands, ``values`` for what ``old`` gave, and take ``old`` away.

    All that ``new`` reads must be computed before ``at``, all that reads ``values`` after it. A new
    value takes the name, dtype and shape of the one it stands for, also as an output of the graph.
    """
    graph = at.graph
    assert graph is not None, "passes rewrite nodes that are in a graph"
    graph.insert_before(at, new)
    for before, after in values.items():
        name, after.type, after.shape = before.name, before.type, before.shape
        before.name = f"{name}.replaced"
        after.name = name
        ir.convenience.replace_all_uses_with(before, after, replace_graph_outputs=True)
    graph.remove(old, safe=True)
