"""Strided arrays made C-ordered, with the cache in mind."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["dense"]

_TILE = 256
_PADDING = 16


def dense(values: NDArray[Any]) -> NDArray[Any]:
    """Return ``values`` in C order, copied only if they are not; for any dtype, bit by bit.

    numpy copies a transposed matrix row by row, and each element of a row comes from another cache
    line. Tiles that fit the cache use what a line brings in. Each goes through a padded buffer, as
    rows a power of two apart fall on few lines of the cache and would push one another out.
    """
    bits = values.view(f"u{values.itemsize}")  # the same for every dtype, and no NaN is touched
    if values.flags.c_contiguous or values.ndim != 2 or values.strides[0] >= values.strides[1]:
        return np.ascontiguousarray(bits).view(values.dtype).reshape(values.shape)
    out = np.empty(bits.shape, bits.dtype)
    buffer = np.empty((_TILE, _TILE + _PADDING), bits.dtype).T  # strided as the input is
    for row in range(0, bits.shape[0], _TILE):
        for column in range(0, bits.shape[1], _TILE):
            place = slice(row, row + _TILE), slice(column, column + _TILE)
            tile = bits[place]
            copied = buffer[: tile.shape[0], : tile.shape[1]]
            copied[...] = tile
            out[place] = copied
    return out.view(values.dtype)
