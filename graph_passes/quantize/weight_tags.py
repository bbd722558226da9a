"""The format a weight is to have, kept with it from pass to pass."""

from __future__ import annotations

import onnx_ir as ir

from deltaport.errors import PassError
from deltaport.weight_format import WeightFormat, parse_format

__all__ = ["check_formats", "format_of", "same_format", "set_format"]

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


def check_formats(graph: ir.Graph) -> None:
    """Raise ``PassError`` where a weight was to have a format and was left as it is."""
    for name, weight in graph.initializers.items():
        if (chosen := format_of(weight)) is not None:
            raise PassError(
                f"{name} was to be {chosen} and is not; run lower-to-linear and quantize-weights"
            )
