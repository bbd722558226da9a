"""Changing the dtype of a recipe without piling casts up."""

from typing import Any

import numpy as np

from deltaport.graph_passes.recipes.cast_recipe import Cast
from deltaport.graph_passes.recipes.recipe import Recipe

__all__ = ["in_dtype"]


def in_dtype(recipe: Recipe, dtype: np.dtype[Any]) -> Recipe:
    """``recipe`` with elements of ``dtype``.

    A cast to float32 before another cast loses nothing, so it goes.
    """
    if recipe.dtype == dtype:
        return recipe
    if isinstance(recipe, Cast) and recipe.dtype == np.float32:
        return in_dtype(recipe.inner, dtype)
    return Cast(recipe, dtype)
