"""The sum of the residual stream with the norm that reads it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from deltaport.custom_ops.definitions import DOMAIN
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.rewriting import (
    is_op,
    new_node,
    new_value,
    producer,
    replace,
    static_dims,
)

__all__ = ["FuseResidualNorm"]


@dataclass(frozen=True)
class FuseResidualNorm(GraphPass):
    """Fuse an addition and the RMS norm of its result.

    1. ``s = Add(x, r)``, ``y = RMSNormalization(s, scale)``   become  ``y, s = AddRMSNorm(x, r,
       scale)``

    Others may read ``s``: it keeps its name. Left alone are sums that are graph outputs, addends
    of different shapes, norms over other axes than the last, and scales that are computed.
    """

    name = "fuse-residual-norm"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse in one sweep."""
        modified = False
        for node in list(model.graph):
            modified |= self._try_fuse(node)
        return ir.passes.PassResult(model, modified)

    def _try_fuse(self, node: ir.Node) -> bool:
        if not is_op(node, "RMSNormalization"):
            return False
        total, scale = node.inputs
        add = producer(total, "Add")
        if total is None or scale is None or add is None or total.is_graph_output():
            return False
        x, residual = add.inputs
        if x is None or residual is None or x.shape is None or x.shape != residual.shape:
            return False
        axis = node.attributes.get_int("axis", -1)
        if axis not in (-1, len(x.shape) - 1) or static_dims(scale) != static_dims(x)[-1:]:
            return False
        if not scale.is_initializer():  # the norm moves up to the sum, where scale must be known
            return False

        outputs = [new_value("normed", None, None), new_value("sum", None, None)]
        eps = node.attributes.get_float("epsilon", 1e-5)
        fused = new_node(
            "AddRMSNorm", [x, residual, scale], outputs, {"norm_eps": eps}, domain=DOMAIN
        )
        values = {node.outputs[0]: outputs[0], total: outputs[1]}
        replace((add, node), [fused], values, at=add)
        return True
