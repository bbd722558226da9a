"""Check the graph's interface against the state layout the runtime will obey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from deltaport.decoder_interface import LOGITS, STEP_INPUTS
from deltaport.errors import PassError
from deltaport.graph_passes.decoder_layout import layout_of
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.state_layout import SLOTS

__all__ = ["VerifyStateLayout"]

_ONNX_NAMES = {"float32": "FLOAT", "float16": "FLOAT16", "bfloat16": "BFLOAT16"}
"""ONNX's names of the dtypes a state may have."""
SLOTS_IN_GRAPH = "batch"
"""A step's batch is the number of slots it binds."""


@dataclass(frozen=True)
class VerifyStateLayout(GraphPass):
    """The decoder's inputs and outputs are those of the contract, in order, dtype and shape."""

    name = "verify-state-layout"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Raise ``PassError`` at the first disagreement."""
        layout = layout_of(model)
        inputs = {value.name: value for value in model.graph.inputs}
        outputs = {value.name: value for value in model.graph.outputs}
        for tensor in layout:
            where = f"{self.name}: layer {tensor.layer}"
            shape = [SLOTS_IN_GRAPH if dim == SLOTS else dim for dim in tensor.shape]
            dtype = ir.DataType[_ONNX_NAMES[tensor.dtype]]
            _check(where, inputs, tensor.input, dtype, shape)
            _check(where, outputs, tensor.output, dtype, shape)
        expected_inputs = [*STEP_INPUTS, *(tensor.input for tensor in layout)]
        expected_outputs = [LOGITS, *(tensor.output for tensor in layout)]
        for what, found, expected in (
            ("inputs", list(inputs), expected_inputs),
            ("outputs", list(outputs), expected_outputs),
        ):
            if found != expected:
                raise PassError(f"{self.name}: graph {what} are {found}, expected {expected}")
        for name, dims in STEP_INPUTS.items():
            _check(self.name, inputs, name, ir.DataType.INT64, dims)
        _check(self.name, outputs, LOGITS, ir.DataType.FLOAT, ["rows", None])
        return ir.passes.PassResult(model, modified=False)


def _check(
    where: str,
    values: dict[str | None, ir.Value],
    name: str,
    dtype: ir.DataType,
    shape: Sequence[int | str | None],
) -> None:
    """``None`` in ``shape`` stands for any size."""
    if name not in values:
        raise PassError(f"{where}: {name}: not in the graph")
    value = values[name]
    if value.dtype != dtype:
        raise PassError(f"{where}: {name}: dtype {value.dtype}, expected {dtype}")
    found = None if value.shape is None else [_plain(dim) for dim in value.shape]
    agrees = found is not None and len(found) == len(shape)
    if not agrees or any(b not in (None, a) for a, b in zip(found or [], shape, strict=True)):
        raise PassError(f"{where}: {name}: shape {found}, expected {list(shape)}")


def _plain(dim: int | ir.SymbolicDim) -> int | str | None:
    return dim.value if isinstance(dim, ir.SymbolicDim) else dim
