"""The recipes of a weight in fp8: its codes, and its scales."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deltaport.graph_passes.quantize.fp8_rows import fp8_codes, fp8_scales
from deltaport.graph_passes.recipes.quantized_recipes import QuantizedPart
from deltaport.graph_passes.recipes.recipe import Recipe, TensorSource
from deltaport.graph_passes.recipes.region import Region
from deltaport.weight_format import FP8, WeightFormat

__all__ = ["Fp8Codes", "Fp8Scales"]

_MOST_VALUES = 1 << 22  # weights that are in memory as float32 at a time
_Place = tuple[int | slice, ...]


class _OfRows(QuantizedPart):
    """What codes and scales have in common."""

    inner: Recipe

    @property
    def format(self) -> WeightFormat:
        """Always the same."""
        return FP8

    def _check(self) -> None:
        if len(self.inner.shape) < 2 or 0 in self.inner.shape:
            raise ValueError(f"{self.kind}: no matrix: {self.inner!r}")

    def _rows(
        self, source: TensorSource, region: Region
    ) -> Iterator[tuple[_Place, NDArray[np.float32]]]:
        """Some whole rows at a time of ``region`` [..,rows], and where in it they are."""
        *outer, rows = region
        inputs = self.inner.shape[-1]
        step = max(1, _MOST_VALUES // inputs)
        for at in product(*(range(*bounds) for bounds in outer)):
            place = tuple(i - start for i, (start, _) in zip(at, outer, strict=True))
            for first in range(*rows, step):
                last = min(first + step, rows[1])
                read = (*((i, i + 1) for i in at), (first, last), (0, inputs))
                yield (*place, slice(first - rows[0], last - rows[0])), self._matrix(source, read)


@dataclass(frozen=True, repr=False)
class Fp8Codes(_OfRows):
    """The codes of a weight [..,rows,inputs], of the same shape."""

    kind = "fp8codes"

    inner: Recipe
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        self._check()
        self._set(shape=self.inner.shape, dtype=np.dtype(ml_dtypes.float8_e4m3fn))

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        out = np.empty([stop - start for start, stop in region], self.dtype)
        if out.size:
            for place, matrix in self._rows(source, region[:-1]):
                out[place] = fp8_codes(matrix, fp8_scales(matrix))[:, slice(*region[-1])]
        return out


@dataclass(frozen=True, repr=False)
class Fp8Scales(_OfRows):
    """The scales of a weight [..,rows,inputs]: bfloat16 [..,rows]."""

    kind = "fp8scales"

    inner: Recipe
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        self._check()
        self._set(shape=self.inner.shape[:-1], dtype=np.dtype(ml_dtypes.bfloat16))

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        out = np.empty([stop - start for start, stop in region], self.dtype)
        for place, matrix in self._rows(source, region):
            out[place] = fp8_scales(matrix)
        return out
