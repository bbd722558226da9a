"""Check that names are unique and that every value is there before it is read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import onnx_ir as ir

from deltaport.graph_passes.rewriting import subgraphs
from deltaport.graph_passes.verify.faults import fault, told

__all__ = ["check_structure"]

Scope = Mapping[str, ir.Value]
"""Values by name that a node may read."""


def check_structure(graph: ir.Graph, outer: Scope = MappingProxyType({})) -> None:
    """Raise ``PassError`` at the first value or node out of place; ``outer`` is around ``graph``.

    Nodes read what is in scope: inputs, initializers, what earlier nodes gave, and the same of the
    graphs around theirs. Nothing refers to nodes that are in no graph.
    """
    scope = dict(outer)
    for value in graph.inputs:
        _declare(value, "graph input", scope)
    for name, value in graph.initializers.items():
        if name != value.name:
            raise fault(f"initializer {name}: is called {value.name}")
        if value.const_value is None:
            raise fault(f"initializer {name}: has no value")
        if not (scope.get(name) is value and value.is_graph_input()):
            _declare(value, "initializer", scope)
    for node in graph:
        for position, read in enumerate(node.inputs):
            if read is not None and scope.get(read.name or "") is not read:
                raise fault(f"input {position} ({read.name}): {_origin(read)}", node)
        for inner in subgraphs(node):
            check_structure(inner, scope)
        for position, output in enumerate(node.outputs):
            if not (output.name == "" and _is_unused(output)):
                _declare(output, f"output {position}", scope, node)
    _check_outputs(graph, scope)


def _declare(
    value: ir.Value, what: str, scope: dict[str, ir.Value], node: ir.Node | None = None
) -> None:
    if not value.name:
        raise fault(f"{what}: has no name", node)
    if value.name in scope:
        raise fault(f"{what} ({value.name}): the name is taken", node)
    for use in value.uses():
        if use.node.graph is None:
            reader = told(use.node)
            raise fault(f"{what} ({value.name}): is read by {reader}, which is in no graph", node)
    scope[value.name] = value


def _is_unused(value: ir.Value) -> bool:
    """Whether an output is one that the node need not give."""
    return not value.uses() and not value.is_graph_output()


def _check_outputs(graph: ir.Graph, scope: Scope) -> None:
    seen: set[ir.Value] = set()
    for output in graph.outputs:
        if scope.get(output.name or "") is not output:
            raise fault(f"graph output ({output.name}): {_origin(output)}")
        if output in seen:
            raise fault(f"graph output ({output.name}): is listed twice")
        seen.add(output)


def _origin(value: ir.Value) -> str:
    """Why a value is not there."""
    producer = value.producer()
    if producer is None:
        return "is no input and no initializer, and no node gives it"
    giver = told(producer)
    if producer.graph is None:
        return f"is given by {giver}, which is in no graph"
    return f"is given by {giver}, which comes later or is in another graph"
