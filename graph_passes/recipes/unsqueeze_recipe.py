"""The recipe that adds an axis of size 1."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltaport.graph_passes.recipes.layout_recipes import Squeeze
from deltaport.graph_passes.recipes.recipe import Recipe, TensorSource, UnaryRecipe
from deltaport.graph_passes.recipes.region import Region

__all__ = ["Unsqueeze", "unsqueezed"]


@dataclass(frozen=True, repr=False)
class Unsqueeze(UnaryRecipe):
    """One axis of size 1 added: axis ``axis`` of the result."""

    kind = "unsqueeze"

    inner: Recipe
    axis: int
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        shape = self.inner.shape
        if not 0 <= self.axis <= len(shape):
            raise ValueError(f"unsqueeze: axis {self.axis} has no place in shape {shape}")
        self._set(shape=(*shape[: self.axis], 1, *shape[self.axis :]), dtype=self.inner.dtype)

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        start, stop = region[self.axis]
        values = self.inner.read(source, (*region[: self.axis], *region[self.axis + 1 :]))
        return np.expand_dims(values, self.axis)[(*[slice(None)] * self.axis, slice(start, stop))]


def unsqueezed(recipe: Recipe, axis: int) -> Recipe:
    """What ``numpy.expand_dims(recipe, axis)`` is: without the ``Squeeze`` it undoes, if any."""
    if isinstance(recipe, Squeeze) and recipe.axis == axis:
        return recipe.inner
    return Unsqueeze(recipe, axis)
