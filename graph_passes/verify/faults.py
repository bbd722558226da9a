"""How a fault of a graph is told."""

from __future__ import annotations

import onnx_ir as ir

from deltaport.errors import PassError

__all__ = ["PASS_NAME", "fault"]

PASS_NAME = "verify-graph"
"""The pass that all of these checks are parts of."""


def fault(message: str, node: ir.Node | None = None) -> PassError:
    """What to raise: the pass, the node if it is one's fault, and what is wrong."""
    where = "" if node is None else f"{node.op_type} ({node.name}): "
    return PassError(f"{PASS_NAME}: {where}{message}")
