"""Replacing every call of our ops that a backend has an expansion for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import onnx_ir as ir

from deltaport.custom_ops.definitions import BODY_OPSET, DOMAIN
from deltaport.errors import PassError
from deltaport.graph_passes.decoder_layout import layout_of, set_layout
from deltaport.graph_passes.graph_pass import PreconditionError
from deltaport.graph_passes.lower.expand.call import Call
from deltaport.graph_passes.lower.expand.expansion import Expansion, expand
from deltaport.graph_passes.verify.verify_in_place_safety import (
    ALIASING_WRITERS,
    updated_by_kernel,
)
from deltaport.state_layout import StateLayout, StateTensor, StateUpdate

__all__ = ["Expansions", "lower_calls", "require_body_opset"]

Expansions = Mapping[str, Callable[[Call], Expansion]]
"""How each of our ops is made of others, by its name."""


def require_body_opset(model: ir.Model, who: str) -> None:
    """Templates are written in the opset of the function bodies."""
    opset = model.graph.opset_imports.get("")
    if opset != BODY_OPSET:
        raise PreconditionError(f"{who}: graph is opset {opset}, expansions are opset {BODY_OPSET}")


def lower_calls(
    model: ir.Model, expansions: Expansions, domain: str, who: str, *, kept: Collection[str] = ()
) -> bool:
    """Expand in one sweep: no expansion holds an op of ours. Whether there was any.

    ``domain`` is that of the backend's own ops; calls of the ops ``kept`` stay. Rows of the state
    layout become ``in_place`` or ``swap`` as the op that now writes them allows. Raises
    ``PassError`` for an op that has no expansion.
    """
    modified = False
    for node in list(model.graph):
        if node.domain != DOMAIN or node.op_type in kept:
            continue
        if node.op_type not in expansions:
            raise PassError(f"{who}: {DOMAIN}.{node.op_type} has no expansion")
        call = Call(node)
        expand(call, expansions[node.op_type](call))
        modified = True
    if modified:
        if not any(node.domain == DOMAIN for node in model.graph):
            model.graph.opset_imports.pop(DOMAIN, None)
        model.graph.opset_imports[domain] = 1
        set_layout(model, _updates_of_writers(model))
    return modified


def _updates_of_writers(model: ir.Model) -> StateLayout:
    inputs = {value.name: value for value in model.graph.inputs}
    outputs = {value.name: value for value in model.graph.outputs}
    return StateLayout(
        tuple(
            replace(tensor, update=_update(tensor, inputs[tensor.input], outputs[tensor.output]))
            for tensor in layout_of(model)
        )
    )


def _update(tensor: StateTensor, past: ir.Value, present: ir.Value) -> StateUpdate:
    writer = present.producer()
    reads = [] if writer is None else [value and value.name for value in writer.inputs]
    if writer is None or tensor.input not in reads:
        return "swap"
    way = (writer.op_type, reads.index(tensor.input), present.index())
    return "in_place" if way in ALIASING_WRITERS or updated_by_kernel(past, present) else "swap"
