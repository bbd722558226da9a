"""Nodes that compute in one float dtype, and casts where values cross from one to another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from deltaport.graph_passes.recipes.recipe_dtype import in_dtype
from deltaport.graph_passes.rewriting import (
    constant,
    constant_of,
    new_node,
    new_value,
    new_weight,
    recipe_of,
    set_recipe,
    used_once,
)

__all__ = ["DtypeBorders", "is_float"]

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_Fixed = Mapping[int, ir.DataType]


def is_float(value: ir.Value) -> bool:
    """Whether ``value`` is of a float dtype that weights are stored in."""
    return value.dtype in _FLOATS


class DtypeBorders:
    """Changes what the nodes of a graph compute in, from its first node to its last."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def compute_in(
        self, node: ir.Node, dtype: ir.DataType, fixed: tuple[_Fixed, _Fixed] = ({}, {})
    ) -> None:
        """Let ``node`` take and give ``dtype`` wherever it takes and gives floats.

        The inputs and outputs at the positions ``fixed`` are of the dtypes there all the same.
        """
        for position, value in enumerate(node.inputs):
            wanted = fixed[0].get(position, dtype)
            if value is not None and is_float(value) and value.dtype != wanted:
                node.replace_input_with(position, self._in_dtype(value, wanted, node))
        for position, output in enumerate(node.outputs):
            if is_float(output):
                output.type = ir.TensorType(fixed[1].get(position, dtype))

    def give(self, index: int, dtype: ir.DataType) -> None:
        """Let output ``index`` of the graph be ``dtype``, under the name it has."""
        value = self._graph.outputs[index]
        if value.dtype == dtype:
            return
        name = value.name
        value.name = f"{name}.{_name(value.dtype)}"
        result = new_value(str(name), dtype, _dims(value))
        self._graph.append(new_node("Cast", [value], [result], {"to": dtype.value}))
        self._graph.outputs[index] = result

    def _in_dtype(self, value: ir.Value, dtype: ir.DataType, reader: ir.Node) -> ir.Value:
        """``value`` as ``dtype``: a weight of another recipe, another constant, or a cast."""
        recipe, array = recipe_of(value), constant_of(value)
        if array is not None:
            return constant(self._graph, array.astype(dtype.numpy()))
        if (value, dtype) not in self._casts:
            if recipe is not None and used_once(value):
                set_recipe(value, in_dtype(recipe, np.dtype(dtype.numpy())))
                return value
            name = f"{value.name}.{_name(dtype)}"
            if recipe is not None:
                cast = new_weight(self._graph, name, in_dtype(recipe, np.dtype(dtype.numpy())))
            else:
                cast = new_value(name, dtype, _dims(value))
                node = new_node("Cast", [value], [cast], {"to": dtype.value})
                self._graph.insert_before(reader, [node])
            self._casts[value, dtype] = cast
        return self._casts[value, dtype]


def _name(dtype: ir.DataType | None) -> str:
    assert dtype is not None, "floats have a dtype"
    return np.dtype(dtype.numpy()).name


def _dims(value: ir.Value) -> list[int | ir.SymbolicDim] | None:
    return None if value.shape is None else list(value.shape)
