"""The recipe that changes a weight's dtype."""

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deltaport.errors import CheckpointError
from deltaport.graph_passes.recipes.recipe import (
    Recipe,
    TensorSource,
    UnaryRecipe,
    names_read,
)
from deltaport.graph_passes.recipes.region import Region

__all__ = ["Cast"]

#: Largest finite values: (2 - 2**-fraction_bits) * 2**largest_exponent.
_LARGEST = {"float16": (2 - 2**-10) * 2.0**15, "bfloat16": (2 - 2**-7) * 2.0**127}
_FLOATS = tuple(np.dtype(kind) for kind in (np.float32, np.float16, ml_dtypes.bfloat16))


@dataclass(frozen=True, repr=False)
class Cast(UnaryRecipe):
    """Conversion among float32, float16 and bfloat16, rounding to nearest even.

    NaN and infinities pass through; a finite value that the new dtype cannot hold raises
    :class:`CheckpointError` when read, since an infinite weight would ruin the model silently.
    """

    kind = "cast"

    inner: Recipe
    dtype: np.dtype[Any]
    shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        dtype = np.dtype(self.dtype)
        for each in (self.inner.dtype, dtype):
            if each not in _FLOATS:
                raise ValueError(f"cast: {each} is none of {', '.join(d.name for d in _FLOATS)}")
        self._set(dtype=dtype, shape=self.inner.shape)

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        values = self.inner.read(source, region)
        if values.dtype == self.dtype:
            return values
        with np.errstate(all="ignore"):  # overflow is found below, and named
            cast = values.astype(self.dtype)
        if self.dtype != np.float32:
            lost = ~np.isfinite(cast)
            if lost.any():
                lost &= np.isfinite(values)
                if lost.any():
                    raise self._overflow(source, region, values, lost)
        return cast

    def _overflow(
        self, source: TensorSource, region: Region, values: NDArray[Any], lost: NDArray[np.bool_]
    ) -> CheckpointError:
        at = tuple(map(int, np.unravel_index(int(np.argmax(lost)), lost.shape)))
        names = names_read(self.inner, source, region, at)
        limit = _LARGEST[self.dtype.name]
        return CheckpointError(
            f"tensor {names}: holds {float(values[at]):g}, beyond {self.dtype.name}'s largest "
            f"value {limit:g}; choose a dtype with a wider range for the engine"
        )
