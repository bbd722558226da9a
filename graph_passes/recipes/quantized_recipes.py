"""The recipes of a quantized weight: its codes, and its scales."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deltaport.errors import CheckpointError
from deltaport.graph_passes.quantize.code_layout import GROUP_INPUTS, TILE_ROWS
from deltaport.graph_passes.quantize.quantize_rows import quantize_rows
from deltaport.graph_passes.quantize.weight_format import WeightFormat
from deltaport.graph_passes.recipes.recipe import (
    Recipe,
    TensorSource,
    UnaryRecipe,
    names_read,
)
from deltaport.graph_passes.recipes.region import Region

__all__ = ["Codes", "Scales"]


class _Quantized(UnaryRecipe):
    """What both have in common: of ``inner`` [..,rows,inputs], a part of its quantized form."""

    inner: Recipe
    bits: int
    block: int
    numbers: int

    @property
    def format(self) -> WeightFormat:
        """How the weight is stored."""
        return WeightFormat(self.bits, self.block, self.numbers == 2)

    def _tiles_and_blocks(self) -> tuple[tuple[int, ...], int, int]:
        """The outer sizes, and how many tiles and blocks there are; checks that it can be."""
        if self.numbers not in (1, 2) or len(self.inner.shape) < 2 or 0 in self.inner.shape:
            raise ValueError(f"{self.kind}: no format of weights, or no matrix: {self.inner!r}")
        *outer, rows, inputs = self.inner.shape
        return tuple(outer), -(-rows // TILE_ROWS), -(-inputs // self.format.block)

    def _parts(
        self, source: TensorSource, region: Region, inputs: tuple[int, int]
    ) -> Iterator[tuple[tuple[int, ...], NDArray[np.uint8], NDArray[Any]]]:
        """For each matrix in ``region``: where it is there, and its codes and scales.

        Of tiles those of the region, of inputs [start, stop), whole blocks.
        """
        *outer, tiles = region[: len(self.inner.shape) - 1]
        *_, all_rows, all_inputs = self.inner.shape
        rows = (tiles[0] * TILE_ROWS, min(tiles[1] * TILE_ROWS, all_rows))
        columns = (inputs[0], min(inputs[1], all_inputs))
        for at in product(*(range(start, stop) for start, stop in outer)):
            inner = (*((i, i + 1) for i in at), rows, columns)
            values = self.inner.read(source, inner).astype(np.float32)
            values = values.reshape(values.shape[-2:])
            if not np.isfinite(values).all():
                raise self._not_finite(source, inner, values)
            place = tuple(i - start for i, (start, _) in zip(at, outer, strict=True))
            yield place, *quantize_rows(values, self.format)

    def _not_finite(
        self, source: TensorSource, region: Region, values: NDArray[np.float32]
    ) -> CheckpointError:
        row, column = map(int, np.argwhere(~np.isfinite(values))[0])
        names = names_read(self.inner, source, region, (*[0] * (len(region) - 2), row, column))
        return CheckpointError(
            f"tensor {names}: holds {float(values[row, column])}, which {self.format} has no code "
            "for; keep its role in floating point, or mend the checkpoint"
        )


@dataclass(frozen=True, repr=False)
class Codes(_Quantized):
    """The codes of a weight [..,rows,inputs]: uint8 [..,tiles,groups,bits,64].

    ``numbers``: 1 with scales alone, 2 with offsets.
    """

    kind = "codes"

    inner: Recipe
    bits: int
    block: int
    numbers: int
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        outer, tiles, blocks = self._tiles_and_blocks()
        groups = blocks * self.block // GROUP_INPUTS
        self._set(shape=(*outer, tiles, groups, self.bits, 64), dtype=np.dtype(np.uint8))

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        out = np.empty([stop - start for start, stop in region], np.uint8)
        if out.size == 0:
            return out
        *_, groups, chunks, bytes_ = region
        first = groups[0] * GROUP_INPUTS // self.block * self.block
        last = -(-groups[1] * GROUP_INPUTS // self.block) * self.block
        skipped = first // GROUP_INPUTS
        wanted = (slice(None), slice(groups[0] - skipped, groups[1] - skipped))
        for place, codes, _ in self._parts(source, region, (first, last)):
            out[place] = codes[(*wanted, slice(*chunks), slice(*bytes_))]
        return out


@dataclass(frozen=True, repr=False)
class Scales(_Quantized):
    """The scales of a weight [..,rows,inputs]: bfloat16 [..,tiles,blocks,numbers,16]."""

    kind = "scales"

    inner: Recipe
    bits: int
    block: int
    numbers: int
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        outer, tiles, blocks = self._tiles_and_blocks()
        shape = (*outer, tiles, blocks, self.numbers, TILE_ROWS)
        self._set(shape=shape, dtype=np.dtype(ml_dtypes.bfloat16))

    def _read(self, source: TensorSource, region: Region) -> NDArray[Any]:
        out = np.empty([stop - start for start, stop in region], self.dtype)
        if out.size == 0:
            return out
        *_, blocks, numbers, rows = region
        inputs = (blocks[0] * self.block, blocks[1] * self.block)
        for place, _, scales in self._parts(source, region, inputs):
            out[place] = scales[:, :, slice(*numbers), slice(*rows)]
        return out
