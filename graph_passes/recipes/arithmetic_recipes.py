"""Recipes that compute: a float32 weight plus or times a constant."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltaport.graph_passes.recipes.recipe import Recipe, TensorSource, UnaryRecipe
from deltaport.graph_passes.recipes.region import Region

__all__ = ["Scale", "Shift"]


@dataclass(frozen=True, repr=False)
class _Arithmetic(UnaryRecipe):
    """``by`` is rounded to float32, so that equal recipes are those that compute the same."""

    inner: Recipe
    by: float
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        if self.inner.dtype != np.float32:
            raise ValueError(f"{self.kind}: {self.inner.dtype} is not float32")
        with np.errstate(over="ignore"):  # found in the next line, and named
            by = float(np.float32(self.by))
        if not np.isfinite(by):
            raise ValueError(f"{self.kind}: {self.by} is no finite float32")
        self._set(by=by, shape=self.inner.shape, dtype=self.inner.dtype)


@dataclass(frozen=True, repr=False)
class Shift(_Arithmetic):
    """``inner + by``, in float32."""

    kind = "shift"

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        shifted: NDArray[Any] = self.inner.read(source, region) + np.float32(self.by)
        return shifted


@dataclass(frozen=True, repr=False)
class Scale(_Arithmetic):
    """``inner * by``, in float32."""

    kind = "scale"

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        scaled: NDArray[Any] = self.inner.read(source, region) * np.float32(self.by)
        return scaled
