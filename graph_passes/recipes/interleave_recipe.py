"""The recipe that takes the two halves of an axis in turn."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltaport.graph_passes.recipes.recipe import Recipe, TensorSource, UnaryRecipe
from deltaport.graph_passes.recipes.region import Region

__all__ = ["Interleave"]


@dataclass(frozen=True, repr=False)
class Interleave(UnaryRecipe):
    """``[a0, a1, .., b0, b1, ..]`` along one axis as ``[a0, b0, a1, b1, ..]``."""

    kind = "interleave"

    inner: Recipe
    axis: int
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        shape = self.inner.shape
        if not 0 <= self.axis < len(shape) or shape[self.axis] % 2:
            raise ValueError(f"interleave: shape {shape} has no two halves along axis {self.axis}")
        self._set(shape=shape, dtype=self.inner.dtype)

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        start, stop = region[self.axis]
        half = self.shape[self.axis] // 2
        before, after = region[: self.axis], region[self.axis + 1 :]
        out = np.empty([high - low for low, high in region], self.dtype)
        for which in (0, 1):
            # Elements 2i + which of the result, for which start <= 2i + which < stop.
            low, high = (start + 1 - which) // 2, (stop + 1 - which) // 2
            if low < high:
                inner = (*before, (which * half + low, which * half + high), *after)
                every_other = slice(2 * low + which - start, None, 2)
                place = (*[slice(None)] * self.axis, every_other)
                out[place] = self.inner.read(source, inner)
        return out
