"""The state layout as part of a graph: passes may change it, dumps carry it."""

from __future__ import annotations

import json

import onnx_ir as ir

from deltaport.errors import EngineError
from deltaport.state_layout import StateLayout
from deltaport.strict_json import JsonProblem, parse_object, quote

__all__ = ["LAYOUT_KEY", "layout_of", "set_layout"]

LAYOUT_KEY = "deltaport.state_layout"
"""Where a model's metadata holds its layout, in the words of a manifest."""


def layout_of(model: ir.Model) -> StateLayout:
    """The layout of the decoder's state.

    Raises ``EngineError`` where there is none, or a damaged one: dumps of graphs are files.
    """
    source = f"graph {quote(model.graph.name)}: {LAYOUT_KEY}"
    if LAYOUT_KEY not in model.metadata_props:
        raise EngineError(f"{source}: missing, so this is not a decoder graph of deltaport")
    try:
        document = parse_object(model.metadata_props[LAYOUT_KEY])
    except JsonProblem as problem:
        raise EngineError(f"{source}: {problem}") from None
    return StateLayout.from_json(document.get("state"), source=source)


def set_layout(model: ir.Model, layout: StateLayout) -> None:
    """Make ``layout`` that of ``model``."""
    model.metadata_props[LAYOUT_KEY] = json.dumps({"state": layout.to_json()})
