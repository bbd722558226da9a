"""Take away nodes that only hand on what they are given."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.rewriting import is_op

__all__ = ["EliminateIdentities"]


@dataclass(frozen=True)
class EliminateIdentities(GraphPass):
    """Whoever reads ``Identity(x)`` reads ``x``.

    1. ``y = Identity(x)``             becomes  ``x``
    2. the same, ``y`` graph output    becomes  ``x`` under the name of ``y``

    What a graph gives must be computed in that graph and given once. So an ``Identity`` stays if
    its result is a graph output and ``x`` is an input, a weight, from outside the subgraph, or a
    graph output as well.
    """

    name = "eliminate-identities"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Eliminate in one sweep, subgraphs included."""
        modified = False
        for node in list(model.graph.all_nodes()):
            modified |= _try_eliminate(node)
        return ir.passes.PassResult(model, modified)


def _try_eliminate(node: ir.Node) -> bool:
    if not is_op(node, "Identity"):
        return False
    x, y, graph = node.inputs[0], node.outputs[0], node.graph
    assert x is not None, "an Identity has an input"
    assert graph is not None, "passes rewrite nodes that are in a graph"
    made_by = x.producer()
    is_output = y.is_graph_output()
    if is_output and (made_by is None or made_by.graph is not graph or x.is_graph_output()):
        return False

    if is_output:
        x.name = y.name
    if is_output or x.shape is None:
        x.type, x.shape = y.type, y.shape
    ir.convenience.replace_all_uses_with(y, x, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return True
