"""Trace the decoder into an ONNX graph without allocating a weight."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from deltaport.custom_ops.definitions import BODY_OPSET
from deltaport.decoder_interface import LOGITS, STEP_INPUTS, tap_names
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.state_layout_of_spec import state_layout_of_spec
from deltaport.exporter.torch_model import Decoder
from deltaport.graph_passes.decoder_layout import set_layout
from deltaport.state_layout import CAPACITY, SLOTS, StateLayout

__all__ = ["IR_VERSION", "Storage", "trace"]

IR_VERSION = 12
"""ONNX IR version that goes with opset 24."""

Storage = Mapping[str, np.dtype[Any]]
Dim = Any
"""What ``torch.export.Dim`` returns, which torch does not name."""


def trace(spec: ModelSpec, storage: Storage) -> ir.Model:
    """Trace a decoder of ``spec`` whose parameter ``name`` is stored as ``storage[name]``.

    Returns the graph, with its initializers named by parameter and still without values, and the
    layout of its state. Batch, sequence, logit rows and cache capacity stay symbolic. The residual
    stream has the names of ``tap_names``.
    """
    layout = state_layout_of_spec(spec)
    with FakeTensorMode():
        decoder = Decoder(spec)
        _set_storage_dtypes(decoder, storage)
        inputs = _example_inputs(decoder)
    dims = _dynamic_dims(layout)
    with _quiet_torch():
        program = torch.export.export(decoder, inputs, dynamic_shapes=dims, strict=False)
        exported = torch.onnx.export(
            program, dynamo=True, optimize=False, opset_version=BODY_OPSET, verbose=False
        )
    assert exported is not None, "torch.onnx.export(dynamo=True) returns a program"
    model = exported.model
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "deltaport", None
    _name_taps(model.graph, tap_names(spec.num_layers))
    _name_interface(model, layout)
    set_layout(model, layout)
    return model


def _example_inputs(decoder: Decoder) -> tuple[torch.Tensor | list[torch.Tensor], ...]:
    # Sizes that differ from one another and from 0 and 1, so that none is specialised.
    B, T, R, capacity = 2, 7, 5, 33
    return (
        torch.zeros(B, T, dtype=torch.int64),
        torch.zeros(3, B, T, dtype=torch.int64),
        torch.zeros(B, dtype=torch.int64),
        torch.zeros(B, dtype=torch.int64),
        torch.zeros(R, dtype=torch.int64),
        decoder.initial_state(B, capacity),
    )


def _dynamic_dims(layout: StateLayout) -> tuple[dict[int, Dim] | list[dict[int, Dim]], ...]:
    """Which axes of the decoder's arguments stay symbolic, in the order of its arguments."""
    sizes = {name: torch.export.Dim(name) for name in ("batch", "tokens", "rows", CAPACITY)}
    sizes[SLOTS] = sizes["batch"]
    step = [
        {axis: sizes[dim] for axis, dim in enumerate(shape) if isinstance(dim, str)}
        for shape in STEP_INPUTS.values()
    ]
    state = [
        {axis: sizes[dim] for axis, dim in enumerate(tensor.shape) if isinstance(dim, str)}
        for tensor in layout
    ]
    return (*step, state)


@contextlib.contextmanager
def _quiet_torch() -> Iterator[None]:
    """Hold back what torch says about its own internals on every export."""
    logger = logging.getLogger("torch.onnx._internal.exporter")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _set_storage_dtypes(module: nn.Module, storage: Storage) -> None:
    for prefix, child in module.named_modules():
        for name, parameter in list(child.named_parameters(recurse=False)):
            full = f"{prefix}.{name}" if prefix else name
            stored = torch.empty(parameter.shape, dtype=getattr(torch, storage[full].name))
            setattr(child, name, nn.Parameter(stored, requires_grad=False))


def _name_taps(graph: ir.Graph, names: list[str]) -> None:
    """Name the last outputs, and let them be values inside the graph like any other."""
    # One by one: deleting a slice leaves the values thinking that they are outputs still.
    for name in reversed(names):
        graph.outputs.pop().name = name


def _name_interface(model: ir.Model, layout: StateLayout) -> None:
    """Give inputs, outputs and symbolic dimensions the names of the decoder contract."""
    graph = model.graph
    for value, name in zip(graph.inputs, [*STEP_INPUTS, *(t.input for t in layout)], strict=True):
        value.name = name
    for value, name in zip(graph.outputs, [LOGITS, *(t.output for t in layout)], strict=True):
        value.name = name
    graph.name = "decoder"

    ids, _, _, _, index, *state = graph.inputs
    symbols = dict(zip(_symbols(ids), ("batch", "tokens"), strict=True))
    symbols |= dict(zip(_symbols(index), ("rows",), strict=True))
    for value, tensor in zip(state, layout, strict=True):
        if CAPACITY in tensor.shape:
            symbols[_symbols(value)[1]] = CAPACITY
    for value in _all_values(graph):
        if value.shape is not None:
            value.shape = ir.Shape([_rename(dim, symbols) for dim in value.shape])


def _symbols(value: ir.Value) -> list[str]:
    assert value.shape is not None
    return [str(dim.value) for dim in value.shape if isinstance(dim, ir.SymbolicDim)]


def _rename(dim: int | ir.SymbolicDim, symbols: dict[str, str]) -> int | str | None:
    if isinstance(dim, int):
        return dim
    if dim.value is None:
        return None
    return re.sub(r"[a-z_]\w*", lambda match: symbols.get(match[0], match[0]), str(dim.value))


def _all_values(graph: ir.Graph) -> list[ir.Value]:
    values = [*graph.inputs]
    for node in graph:
        values += node.outputs
    return values
