"""Give every parameter of a traced graph its recipe."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from deltaport.graph_passes.recipes.cast_recipe import Cast
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor

__all__ = ["bind_weights"]

CONSTANT_LIMIT = 1 << 20
"""Bytes a traced constant (rotary frequencies, index tables) may have to be stored in the graph."""


def bind_weights(graph: ir.Graph, recipes: Mapping[str, Recipe]) -> None:
    """Replace the initializers' placeholders: parameters by recipes, constants by their values.

    A recipe is cast to the dtype its parameter was traced with. Graph and recipes come from one
    specification: where they disagree about a name or a shape it is a bug, a ``RuntimeError``.
    """
    unused = dict(recipes)
    for name, value in graph.initializers.items():
        recipe = unused.pop(name, None)
        if recipe is None:
            value.const_value = _constant(name, value)
            continue
        assert value.shape is not None
        assert value.dtype is not None
        if tuple(value.shape) != recipe.shape:
            raise RuntimeError(
                f"{name}: the graph needs shape {list(value.shape)}, "
                f"the checkpoint gives {list(recipe.shape)}"
            )
        dtype = np.dtype(value.dtype.numpy())
        value.const_value = RecipeTensor(
            recipe if recipe.dtype == dtype else Cast(recipe, dtype), name
        )
    if unused:
        raise RuntimeError(f"{next(iter(unused))}: the traced graph has no such parameter")


def _constant(name: str, value: ir.Value) -> ir.TensorProtocol:
    tensor = value.const_value
    if tensor is None or tensor.nbytes > CONSTANT_LIMIT:
        raise RuntimeError(f"{name}: parameter of the graph without a tensor in the checkpoint")
    return ir.Tensor(np.array(tensor.numpy()), name=name)
