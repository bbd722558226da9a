"""One product for the gate and up projections of a SwiGLU feed-forward."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from deltaport.custom_ops.definitions import DOMAIN
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.products import joinable, joined, product_of
from deltaport.graph_passes.rewriting import new_node, new_value, read_by_only, replace
from deltaport.graph_passes.silu import silu_gate

__all__ = ["FuseGateUp"]


@dataclass(frozen=True)
class FuseGateUp(GraphPass):
    """Join the gate and up projections, and gate in one op.

    1. ``silu(x Wg) * (x Wu)``   becomes  ``SwiGLU(x [Wg | Wu])``

    with silu(g) written ``g * Sigmoid(g)`` and the factors of either product in any order. Left
    alone are projections of different activations, of different widths, with a bias, or stored
    differently, and those of which something else reads a part.
    """

    name = "fuse-gate-up"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse in one sweep."""
        modified = False
        for node in list(model.graph):
            modified |= self._try_fuse(model.graph, node)
        return ir.passes.PassResult(model, modified)

    def _try_fuse(self, graph: ir.Graph, node: ir.Node) -> bool:
        found = silu_gate(node)
        if found is None:
            return False
        gate, up = product_of(found.z), product_of(found.y)
        if gate is None or up is None or not joinable((gate, up)):
            return False
        if gate.bias is not None or gate.width != up.width or gate.weight is up.weight:
            return False
        if not read_by_only(gate.result, found.nodes) or not read_by_only(up.result, found.nodes):
            return False

        nodes, gate_up = joined(graph, (gate, up))
        result = new_value("swiglu", None, None)
        nodes.append(new_node("SwiGLU", [gate_up], [result], domain=DOMAIN))
        old = (*gate.nodes, *up.nodes, *found.nodes)
        replace(old, nodes, {node.outputs[0]: result}, at=node)
        return True
