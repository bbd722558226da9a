"""Check the graph's interface against the state layout the runtime will obey."""

from __future__ import annotations

import onnx_ir as ir

from deltaport.errors import PassError
from deltaport.state_layout import SLOTS, StateLayout, StateTensor

__all__ = ["VerifyStateLayout"]

SLOTS_IN_GRAPH = "batch"
"""A step's batch is the number of slots it binds."""

STEP_INPUTS = ("input_ids", "positions", "lengths", "past_lengths", "logit_index")


class VerifyStateLayout(ir.passes.InPlacePass):
    """Every state row has its input and output in the graph, alike in dtype and shape, in order."""

    name = "verify-state-layout"

    def __init__(self, layout: StateLayout) -> None:
        self.layout = layout

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Raise ``PassError`` at the first disagreement."""
        inputs = {value.name: value for value in model.graph.inputs}
        outputs = {value.name: value for value in model.graph.outputs}
        for tensor in self.layout:
            _check_value(inputs, tensor.input, tensor)
            _check_value(outputs, tensor.output, tensor)
        expected_inputs = [*STEP_INPUTS, *(tensor.input for tensor in self.layout)]
        expected_outputs = ["logits", *(tensor.output for tensor in self.layout)]
        for what, found, expected in (
            ("inputs", list(inputs), expected_inputs),
            ("outputs", list(outputs), expected_outputs),
        ):
            if found != expected:
                raise PassError(f"{self.name}: graph {what} are {found}, expected {expected}")
        return ir.passes.PassResult(model, modified=False)


def _check_value(values: dict[str | None, ir.Value], name: str, tensor: StateTensor) -> None:
    where = f"{VerifyStateLayout.name}: layer {tensor.layer}: {name}"
    if name not in values:
        raise PassError(f"{where}: not in the graph")
    value = values[name]
    if value.dtype is None or value.dtype != ir.DataType.FLOAT:
        raise PassError(f"{where}: dtype {value.dtype} in the graph, {tensor.dtype} in the layout")
    wanted = [SLOTS_IN_GRAPH if dim == SLOTS else dim for dim in tensor.shape]
    found = (
        None
        if value.shape is None
        else [dim if isinstance(dim, int) else dim.value for dim in value.shape]
    )
    if found != wanted:
        raise PassError(f"{where}: shape {found} in the graph, {wanted} in the layout")
