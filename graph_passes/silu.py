"""The SiLU gate ``y * silu(z)``, which tracing spells out."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from deltaport.graph_passes.rewriting import is_op, producer, used_once

__all__ = ["SiluGate", "silu_gate"]


@dataclass(frozen=True)
class SiluGate:
    """``y * (z * Sigmoid(z))``; ``nodes`` in topological order, the last gives the result."""

    y: ir.Value
    z: ir.Value
    nodes: tuple[ir.Node, ir.Node, ir.Node]


def silu_gate(node: ir.Node) -> SiluGate | None:
    """The gate whose last node is ``node``, if nothing else reads what lies between."""
    if not is_op(node, "Mul"):
        return None
    for y, gate in (node.inputs, reversed(node.inputs)):
        product = producer(gate, "Mul")
        if y is None or gate is None or product is None or not used_once(gate):
            continue
        for z, sigmoid in (product.inputs, reversed(product.inputs)):
            inner = producer(sigmoid, "Sigmoid")
            if z is None or sigmoid is None or inner is None or not used_once(sigmoid):
                continue
            if inner.inputs[0] is z:
                return SiluGate(y, z, (inner, product, node))
    return None
