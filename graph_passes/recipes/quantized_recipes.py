"""The recipes of a quantized weight: its codes, and its scales."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deltaport.errors import CheckpointError
from deltaport.graph_passes.quantize.quantize_rows import quantize_rows
from deltaport.graph_passes.recipes.kept_scales import Place, kept_scales
from deltaport.graph_passes.recipes.recipe import (
    Recipe,
    TensorSource,
    UnaryRecipe,
    names_read,
)
from deltaport.graph_passes.recipes.region import Region
from deltaport.weight_format import GROUP_INPUTS, TILE_ROWS, WeightFormat

__all__ = ["Codes", "QuantizedPart", "Scales"]

_MOST_VALUES = 1 << 22  # weights that are in memory as float32 at a time
_LARGEST = 3e38  # a scale times its code must not round to more than float32 has


class QuantizedPart(UnaryRecipe):
    """Of ``inner`` [..,rows,inputs], a part of its quantized form: codes or scales."""

    @property
    @abstractmethod
    def format(self) -> WeightFormat:
        """How the weight is stored."""

    def _matrix(self, source: TensorSource, region: Region) -> NDArray[np.float32]:
        """One matrix of the weight, or rows of it; ``CheckpointError`` for what has no code."""
        values = self.inner.read(source, region).astype(np.float32)
        matrix: NDArray[np.float32] = values.reshape(values.shape[-2:])
        beyond = ~(np.abs(matrix) <= _LARGEST)  # NaN, too
        if beyond.any():
            row, column = map(int, np.argwhere(beyond)[0])
            at = (*[0] * (len(region) - 2), row, column)
            raise CheckpointError(
                f"tensor {names_read(self.inner, source, region, at)}: holds "
                f"{float(matrix[row, column]):g}, which {self.format} has no code for; keep its "
                "role in floating point, or mend the checkpoint"
            )
        return matrix


class _OfTiles(QuantizedPart):
    """What codes and scales of tiles have in common."""

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
    ) -> Iterator[tuple[Place, Place, NDArray[np.uint8], NDArray[Any]]]:
        """Some tiles at a time of each matrix in ``region``, and their codes and scales.

        Before these is where they are, in the region and in the whole. Of tiles those of the
        region, of inputs [start, stop), whole blocks. Scales are a small part of what they are made
        of: memory is bounded by what is read, not by what is given.
        """
        *outer, tiles = region[: len(self.inner.shape) - 1]
        *_, all_rows, all_inputs = self.inner.shape
        columns = (inputs[0], min(inputs[1], all_inputs))
        step = max(1, _MOST_VALUES // (TILE_ROWS * (columns[1] - columns[0])))
        for at in product(*(range(start, stop) for start, stop in outer)):
            place = tuple(i - start for i, (start, _) in zip(at, outer, strict=True))
            for first in range(tiles[0], tiles[1], step):
                last = min(first + step, tiles[1])
                rows = (first * TILE_ROWS, min(last * TILE_ROWS, all_rows))
                inner = (*((i, i + 1) for i in at), rows, columns)
                yield (
                    (*place, slice(first - tiles[0], last - tiles[0])),
                    (*at, slice(first, last)),
                    *quantize_rows(self._matrix(source, inner), self.format),
                )


@dataclass(frozen=True, repr=False)
class Codes(_OfTiles):
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
        kept = kept_scales() if (first, last) == (0, self.shape[-3] * GROUP_INPUTS) else None
        twin = Scales(self.inner, self.bits, self.block, self.numbers)
        for place, at, codes, scales in self._parts(source, region, (first, last)):
            out[place] = codes[(*wanted, slice(*chunks), slice(*bytes_))]
            if kept is not None:
                kept.put(twin, twin.shape, at, scales)
        return out


@dataclass(frozen=True, repr=False)
class Scales(_OfTiles):
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
        parts = slice(*blocks), slice(*numbers), slice(*rows)
        if (kept := kept_scales()) is not None:
            found = kept.take(self, tuple(slice(*bounds) for bounds in region[:-3]))
            if found is not None:
                scales: NDArray[Any] = found[(..., *parts)]
                return scales
        inputs = (blocks[0] * self.block, blocks[1] * self.block)
        for place, _, _, scales in self._parts(source, region, inputs):
            out[place] = scales[:, :, slice(*numbers), slice(*rows)]
        return out
