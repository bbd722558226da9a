"""Check that weights are what their recipes make."""

from __future__ import annotations

import dataclasses
from typing import Any

import onnx_ir as ir

from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor
from deltaport.graph_passes.verify.faults import fault

__all__ = ["check_weight"]


def check_weight(value: ir.Value) -> None:
    """Raise ``PassError`` where a weight is not what the graph says of it; other values pass.

    A recipe is made anew of its own fields, which checks all that making it checks.
    """
    tensor = value.const_value
    if not isinstance(tensor, RecipeTensor):
        return
    where, recipe = f"weight {value.name}", tensor.recipe
    for what, found, expected in (
        ("name", tensor.name, value.name),
        ("dtype", ir.DataType.from_numpy(recipe.dtype), value.dtype),
        ("tensor dtype", tensor.dtype, value.dtype),
        ("shape", recipe.shape, None if value.shape is None else tuple(value.shape)),
        ("tensor shape", tuple(tensor.shape), recipe.shape),
    ):
        if found != expected:
            raise fault(f"{where}: {what} of the recipe is {found}, the graph says {expected}")
    try:
        again = _made_anew(recipe)
    except ValueError as error:
        raise fault(f"{where}: recipe is not well-typed: {error}") from None
    if again != recipe:  # shape and dtype, which are worked out, take part in this
        raise fault(f"{where}: recipe {recipe.describe()} is not what its fields make")


def _made_anew(recipe: Recipe) -> Recipe:
    """The recipe from the fields it is given, its inputs made anew before it."""
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(recipe):  # type: ignore[arg-type]
        if field.init:
            value = getattr(recipe, field.name)
            if isinstance(value, Recipe):
                value = _made_anew(value)
            elif isinstance(value, tuple) and any(isinstance(part, Recipe) for part in value):
                value = tuple(map(_made_anew, value))
            fields[field.name] = value
    return type(recipe)(**fields)
