"""What is known of the dtypes and shapes of a graph's values."""

from __future__ import annotations

from typing import NamedTuple

import onnx_ir as ir

from deltaport.graph_passes.verify.faults import fault

__all__ = ["Shape", "TensorType", "TypeTable", "declared_shape", "shape_text"]

Shape = tuple[int | str | None, ...]
"""Sizes, names of sizes, and None for sizes that are open."""


class TensorType(NamedTuple):
    """A dtype, and a shape where that is known."""

    dtype: ir.DataType
    shape: Shape | None


class TypeTable:
    """The types of values so far: those declared, made more exact by those inferred."""

    def __init__(self) -> None:
        self._types: dict[ir.Value, TensorType] = {}

    def __getitem__(self, value: ir.Value) -> TensorType:
        return self._types[value]

    def add(
        self,
        value: ir.Value,
        what: str,
        node: ir.Node | None = None,
        inferred: TensorType | None = None,
    ) -> None:
        """Note the type of ``value``; raises ``PassError`` where two accounts contradict.

        Names of sizes contradict nothing: only two different numbers do.
        """
        where = f"{what} ({value.name})"
        if value.type is not None and not isinstance(value.type, ir.TensorType):
            raise fault(f"{where}: is {value.type}, expected a tensor", node)
        dtype, shape = value.dtype, declared_shape(value)
        if inferred is not None:
            if dtype not in (None, inferred.dtype):
                raise fault(f"{where}: dtype {dtype}, the inputs make it {inferred.dtype}", node)
            if not _agree(shape, inferred.shape):
                declared, found = shape_text(shape), shape_text(inferred.shape)
                raise fault(f"{where}: shape {declared}, the inputs make it {found}", node)
            dtype, shape = inferred.dtype, _merged(shape, inferred.shape)
        if dtype is None:
            raise fault(f"{where}: has no dtype", node)
        self._types[value] = TensorType(dtype, shape)


def declared_shape(value: ir.Value) -> Shape | None:
    """The shape the graph says ``value`` has."""
    if value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)


def shape_text(shape: Shape | None) -> str:
    """``[batch,3,?]``."""
    if shape is None:
        return "unknown"
    return f"[{','.join('?' if dim is None else str(dim) for dim in shape)}]"


def _agree(one: Shape | None, other: Shape | None) -> bool:
    if one is None or other is None:
        return True
    return len(one) == len(other) and not any(
        isinstance(a, int) and isinstance(b, int) and a != b
        for a, b in zip(one, other, strict=True)
    )


def _merged(one: Shape | None, other: Shape | None) -> Shape | None:
    """The more exact of two accounts that agree, size by size."""
    if one is None or other is None:
        return other if one is None else one
    return tuple(
        b if isinstance(b, int) or a is None else a for a, b in zip(one, other, strict=True)
    )
