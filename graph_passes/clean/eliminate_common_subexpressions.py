"""Compute once what is computed twice."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common

from deltaport.graph_passes.graph_pass import GraphPass

__all__ = ["EliminateCommonSubexpressions"]


@dataclass(frozen=True)
class EliminateCommonSubexpressions(GraphPass):
    """Of nodes with one op, inputs and attributes the first stays, and serves all readers."""

    name = "eliminate-common-subexpressions"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Leave it to onnx_ir's pass."""
        return common.CommonSubexpressionEliminationPass()(model)
