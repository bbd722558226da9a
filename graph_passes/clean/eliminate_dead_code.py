"""Take away what nothing reads."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common

from deltaport.graph_passes.graph_pass import GraphPass

__all__ = ["EliminateDeadCode"]


@dataclass(frozen=True)
class EliminateDeadCode(GraphPass):
    """Nodes, weights and constants that no output of the graph depends on disappear.

    So do functions nobody calls. The inputs and outputs of the graph stay as they are.
    """

    name = "eliminate-dead-code"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Leave it to onnx_ir's passes."""
        nodes = common.RemoveUnusedNodesPass()(model)
        unused_functions = common.RemoveUnusedFunctionsPass()  # type: ignore[no-untyped-call]
        functions = unused_functions(model)
        return ir.passes.PassResult(model, nodes.modified or functions.modified)
