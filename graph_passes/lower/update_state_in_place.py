"""One buffer for a state that a kernel updates where it lies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from deltaport.graph_passes.decoder_layout import layout_of, set_layout
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.verify.verify_in_place_safety import updated_by_kernel
from deltaport.state_layout import StateLayout

__all__ = ["UpdateStateInPlace"]


@dataclass(frozen=True)
class UpdateStateInPlace(GraphPass):
    """Turn ``swap`` rows of the state layout into ``in_place`` where our kernels allow it.

    For targets whose ops our kernels run: function bodies may not do this. A row is left alone
    unless the one node that reads its past is the op of ours that writes its present.
    """

    name = "update-state-in-place"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite the layout; the graph stays as it is."""
        inputs = {value.name: value for value in model.graph.inputs}
        outputs = {value.name: value for value in model.graph.outputs}
        before = layout_of(model)
        after = StateLayout(
            tuple(
                replace(row, update="in_place")
                if updated_by_kernel(inputs[row.input], outputs[row.output])
                else row
                for row in before
            )
        )
        set_layout(model, after)
        return ir.passes.PassResult(model, modified=after != before)
