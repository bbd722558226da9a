"""The recipe that takes bytes for signed numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltaport.graph_passes.recipes.recipe import Recipe, TensorSource, UnaryRecipe
from deltaport.graph_passes.recipes.region import Region

__all__ = ["AsInt8"]


@dataclass(frozen=True, repr=False)
class AsInt8(UnaryRecipe):
    """uint8 as int8: the same bytes, of which those from 128 on are negative numbers now."""

    kind = "asint8"

    inner: Recipe
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        if self.inner.dtype != np.uint8:
            raise ValueError(f"{self.kind}: {self.inner!r} is not uint8")
        self._set(shape=self.inner.shape, dtype=np.dtype(np.int8))

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        return self.inner.read(source, region).view(np.int8)
