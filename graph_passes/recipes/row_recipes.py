"""Codes and scales of a quantized weight row by row, as ONNX's ``DequantizeLinear`` reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deltaport.graph_passes.quantize.code_layout import codes_of_tiles, numbers_of_tiles
from deltaport.graph_passes.recipes.quantized_recipes import Codes, Scales
from deltaport.graph_passes.recipes.recipe import Recipe, TensorSource, UnaryRecipe
from deltaport.graph_passes.recipes.region import Region
from deltaport.weight_format import GROUP_INPUTS, TILE_ROWS

__all__ = ["RowCodes", "RowScales"]


@dataclass(frozen=True, repr=False)
class RowCodes(UnaryRecipe):
    """Codes of tiles as int4 or int8 [..,rows,inputs]: signed, inputs padded to whole blocks."""

    kind = "rowcodes"

    inner: Recipe
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.inner, Codes) or self.inner.numbers != 1:
            raise ValueError(f"{self.kind}: {self.inner!r} is no codes without offsets")
        inputs = self.inner.shape[-3] * GROUP_INPUTS
        dtype = np.dtype(ml_dtypes.int4 if self.inner.bits == 4 else np.int8)
        self._set(shape=(*self.inner.inner.shape[:-1], inputs), dtype=dtype)

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        *outer, rows, inputs = region
        if any(start == stop for start, stop in region):
            return np.empty([stop - start for start, stop in region], self.dtype)
        tiles, groups = _around(rows, TILE_ROWS), _around(inputs, GROUP_INPUTS)
        stored = self.inner.shape[-2:]
        codes = self.inner.read(source, (*outer, tiles, groups, *((0, size) for size in stored)))
        wanted = _within(rows, TILE_ROWS), _within(inputs, GROUP_INPUTS)
        signed = codes_of_tiles(codes)[(..., *wanted)].astype(np.int8)
        # 0 stands for the least code: of 8 bits the subtraction wraps around to that.
        signed -= np.int8(8) if self.dtype == ml_dtypes.int4 else np.int8(-128)
        return signed.view(self.dtype)


@dataclass(frozen=True, repr=False)
class RowScales(UnaryRecipe):
    """Scales of tiles as bfloat16 [..,rows,blocks]."""

    kind = "rowscales"

    inner: Recipe
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.inner, Scales) or self.inner.numbers != 1:
            raise ValueError(f"{self.kind}: {self.inner!r} is no scales without offsets")
        shape = (*self.inner.inner.shape[:-1], self.inner.shape[-3])
        self._set(shape=shape, dtype=self.inner.dtype)

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        *outer, rows, blocks = region
        out = np.empty([stop - start for start, stop in region], self.dtype)
        if out.size == 0:
            return out
        for start, stop in _tile_by_tile(*rows):
            tiles = _around((start, stop), TILE_ROWS)
            at = (*outer, tiles, blocks, (0, 1), (0, TILE_ROWS))
            numbers = numbers_of_tiles(self.inner.read(source, at))[..., 0]
            place = (..., slice(start - rows[0], stop - rows[0]), slice(None))
            out[place] = numbers[..., _within((start, stop), TILE_ROWS), :]
        return out


def _around(bounds: tuple[int, int], size: int) -> tuple[int, int]:
    """The tiles of ``size`` that hold ``bounds``."""
    return bounds[0] // size, -(-bounds[1] // size)


def _within(bounds: tuple[int, int], size: int) -> slice:
    """Where ``bounds`` are in the tiles that hold them."""
    first = bounds[0] // size * size
    return slice(bounds[0] - first, bounds[1] - first)


def _tile_by_tile(start: int, stop: int) -> list[tuple[int, int]]:
    """Rows up to the first whole tile, and all others.

    Scales that were kept beside the codes are there once: those of a tile that the rows before end
    in are gone, and must not make all others be found again.
    """
    border = min(-(-start // TILE_ROWS) * TILE_ROWS, stop)
    return [bounds for bounds in ((start, border), (border, stop)) if bounds[0] < bounds[1]]
