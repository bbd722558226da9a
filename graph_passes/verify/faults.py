"""How a fault of a graph is told."""

from __future__ import annotations

import onnx_ir as ir

from deltaport.errors import PassError

__all__ = ["PASS_NAME", "fault", "told"]

PASS_NAME = "verify-graph"
"""The pass that all of these checks are parts of."""


def fault(message: str, node: ir.Node | None = None) -> PassError:
    """What to raise: the pass, the node if it is one's fault, and what is wrong."""
    where = "" if node is None else f"{told(node)}: "
    return PassError(f"{PASS_NAME}: {where}{message}")


def told(node: ir.Node) -> str:
    """``MatMul (layers.0.mixed)``: its op and its name, or that of the first value it gives."""
    first = node.outputs[0].name if node.outputs else ""
    return f"{node.op_type} ({node.name or first or 'no name'})"
