"""The format a weight is to have, kept with it from pass to pass."""

from __future__ import annotations

import onnx_ir as ir

from deltaport.graph_passes.quantize.weight_format import WeightFormat, parse_format

__all__ = ["format_of", "same_format", "set_format"]

_KEY = "deltaport.format"


def format_of(weight: ir.Value) -> WeightFormat | None:
    """The format that was chosen for ``weight``, None for one that stays as it is stored."""
    text = weight.metadata_props.get(_KEY)
    return None if text is None else parse_format(text)


def set_format(weight: ir.Value, format_: WeightFormat | None) -> None:
    """Choose the format of ``weight``."""
    if format_ is None:
        weight.metadata_props.pop(_KEY, None)
    else:
        weight.metadata_props[_KEY] = str(format_)


def same_format(weights: list[ir.Value]) -> bool:
    """Whether all are to be stored alike, so that they can become one."""
    return len({weight.metadata_props.get(_KEY) for weight in weights}) <= 1
