"""Codes and scales of a quantized weight row by row, as ONNX's ``DequantizeLinear`` reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deltaport.graph_passes.quantize.code_layout import codes_of_tiles, numbers_of_tiles
from deltaport.graph_passes.recipes.kept_scales import kept_scales
from deltaport.graph_passes.recipes.quantized_recipes import Codes, Scales
from deltaport.graph_passes.recipes.recipe import Recipe, TensorSource, UnaryRecipe
from deltaport.graph_passes.recipes.region import Region
from deltaport.weight_format import GROUP_INPUTS, TILE_ROWS

__all__ = ["RowCodes", "RowScales"]

_LEAST = {4: np.int8(8), 8: np.int8(-128)}
"""What is taken off a code, modulo 256."""


@dataclass(frozen=True, repr=False)
class RowCodes(UnaryRecipe):
    """Codes of tiles as int4 or int8 [..,rows,inputs]: signed, inputs padded to whole blocks.

    Of int8 a block whose scale is negative has its codes negated, as there is no code -128: exactly
    the same weights, with the positive scales that TensorRT wants of int8 alone.
    """

    kind = "rowcodes"

    inner: Recipe
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        codes = self.inner
        if not isinstance(codes, Codes) or codes.numbers != 1:
            raise ValueError(f"{self.kind}: {codes!r} is no codes without offsets")
        inputs = codes.shape[-3] * GROUP_INPUTS
        dtype = np.dtype(ml_dtypes.int4 if codes.bits == 4 else np.int8)
        self._set(shape=(*codes.inner.shape[:-1], inputs), dtype=dtype)

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        *outer, rows, inputs = region
        if any(start == stop for start, stop in region):
            return np.empty([stop - start for start, stop in region], self.dtype)
        codes = cast(Codes, self.inner)
        tiles, blocks = _around(rows, TILE_ROWS), _around(inputs, codes.block)
        groups = tuple(each * codes.block // GROUP_INPUTS for each in blocks)
        bytes_ = ((0, size) for size in codes.shape[-2:])
        stored = codes.read(source, cast(Region, (*outer, tiles, groups, *bytes_)))
        # In the codes of tiles 0 is the least; of 8 bits the difference wraps around.
        signed = codes_of_tiles(stored).astype(np.int8) - _LEAST[codes.bits]
        if codes.bits == 8:
            by_block = signed.reshape(*signed.shape[:-1], -1, codes.block)
            by_block *= self._signs(source, (*outer, tiles), blocks)
        wanted = _within(rows, TILE_ROWS), _within(inputs, codes.block)
        return signed[(..., *wanted)].view(self.dtype)

    def _signs(self, source: TensorSource, tiles: Region, blocks: tuple[int, int]) -> NDArray[Any]:
        """-1 and 1 for the scales of some tiles, [..,rows,blocks,1]."""
        codes = cast(Codes, self.inner)
        scales = Scales(codes.inner, codes.bits, codes.block, codes.numbers)
        numbers = scales.read(source, (*tiles, blocks, (0, 1), (0, TILE_ROWS)))
        if (kept := kept_scales()) is not None and blocks == (0, scales.shape[-3]):
            # They were taken out, and are to be read again.
            kept.put(scales, scales.shape, tuple(slice(*bounds) for bounds in tiles), numbers)
        negative = numbers_of_tiles(numbers).astype(np.float32) < 0
        return np.where(negative, np.int8(-1), np.int8(1))


@dataclass(frozen=True, repr=False)
class RowScales(UnaryRecipe):
    """Scales of tiles as bfloat16 [..,rows,blocks]; of int8 positive, 1 where all codes are 0."""

    kind = "rowscales"

    inner: Recipe
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        scales = self.inner
        if not isinstance(scales, Scales) or scales.numbers != 1:
            raise ValueError(f"{self.kind}: {scales!r} is no scales without offsets")
        self._set(shape=(*scales.inner.shape[:-1], scales.shape[-3]), dtype=scales.dtype)

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
        if cast(Scales, self.inner).bits == 8:
            out = np.abs(out)
            out[out == 0] = 1
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
