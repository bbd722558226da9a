"""Traces of the decoders under test: most of what an export takes, and the same for all targets."""

from __future__ import annotations

import onnx_ir as ir

from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.trace import Storage, trace

__all__ = ["trace_once"]

_TRACED: dict[str, ir.Model] = {}


def trace_once(spec: ModelSpec, storage: Storage) -> ir.Model:
    """In place of ``trace``: the same graph, of the caller's own to change."""
    key = repr((spec, sorted(storage.items())))
    if key not in _TRACED:
        _TRACED[key] = trace(spec, storage)
    return _TRACED[key].clone()
