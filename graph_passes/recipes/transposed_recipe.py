"""Transposing a recipe without piling transpositions up."""

from deltaport.graph_passes.recipes.cast_recipe import Cast
from deltaport.graph_passes.recipes.layout_recipes import Concat, Transpose
from deltaport.graph_passes.recipes.recipe import Recipe

__all__ = ["transposed"]


def transposed(recipe: Recipe, perm: tuple[int, ...]) -> Recipe:
    """What ``numpy.transpose(recipe, perm)`` is, with as few transpositions as can be.

    1. transpose(transpose(x))  is one transposition, or x itself
    2. transpose(cast(x))       is the cast of a transposed x
    3. transpose(concat(x, y))  is the transposed parts, side by side along the axis' new place
    """
    if perm == tuple(range(len(perm))):
        return recipe
    match recipe:
        case Transpose(inner=inner, perm=before):
            return transposed(inner, tuple(before[axis] for axis in perm))
        case Cast(inner=inner, dtype=dtype):
            return Cast(transposed(inner, perm), dtype)
        case Concat(parts=parts, axis=axis):
            return Concat(tuple(transposed(part, perm) for part in parts), perm.index(axis))
    return Transpose(recipe, perm)
