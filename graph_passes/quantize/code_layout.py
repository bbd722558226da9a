"""The layout of quantized weights: tiles of 16 rows by 32 inputs.

What the bytes mean is told in ``custom_ops.definitions.quantized_weights``.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deltaport.weight_format import GROUP_INPUTS, TILE_ROWS

__all__ = [
    "code_tiles",
    "codes_of_tiles",
    "matrix_of_tiles",
    "numbers_of_tiles",
    "scale_tiles",
]


def code_tiles(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """``codes`` [..,rows,inputs], whole tiles and groups, as [..,tiles,groups,bits,64]."""
    *outer, rows, inputs = codes.shape
    steps = codes.reshape(*outer, rows // TILE_ROWS, TILE_ROWS, inputs // GROUP_INPUTS, 8, 4)
    chunks = np.moveaxis(steps, -4, -2)  # [.., tiles, groups, steps of 4 inputs, rows, 4]
    if bits == 4:
        chunks = chunks[..., 0::2, :, :] | chunks[..., 1::2, :, :] << np.uint8(4)
    return np.ascontiguousarray(chunks).reshape(*chunks.shape[:-2], 4 * TILE_ROWS)


def scale_tiles(numbers: NDArray[Any]) -> NDArray[Any]:
    """``numbers`` [..,rows,blocks,1 or 2], whole tiles, as [..,tiles,blocks,1 or 2,16] bfloat16."""
    *outer, rows, blocks, count = numbers.shape
    tiles = numbers.reshape(*outer, rows // TILE_ROWS, TILE_ROWS, blocks, count)
    return np.ascontiguousarray(np.moveaxis(tiles, -3, -1)).astype(ml_dtypes.bfloat16)


def codes_of_tiles(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What :func:`code_tiles` makes [..,tiles,groups,bits,64] of: codes [..,rows,inputs]."""
    *outer, count, groups, bits, _ = tiles.shape
    chunks = tiles.reshape(*outer, count, groups, bits, TILE_ROWS, 4)
    if bits == 4:
        halves = np.stack([chunks & np.uint8(15), chunks >> np.uint8(4)], axis=-3)
        chunks = halves.reshape(*outer, count, groups, 8, TILE_ROWS, 4)
    rows = np.moveaxis(chunks, -2, -4)  # [.., tiles, rows, groups, steps of 4 inputs, 4]
    return rows.reshape(*outer, count * TILE_ROWS, groups * GROUP_INPUTS)


def numbers_of_tiles(tiles: NDArray[Any]) -> NDArray[Any]:
    """What :func:`scale_tiles` makes [..,tiles,blocks,1 or 2,16] of: [..,rows,blocks,1 or 2]."""
    *outer, count, blocks, numbers, _ = tiles.shape
    return np.moveaxis(tiles, -1, -3).reshape(*outer, count * TILE_ROWS, blocks, numbers)


def matrix_of_tiles(codes: NDArray[np.uint8], scales: NDArray[Any]) -> NDArray[np.float32]:
    """What codes [tiles,groups,bits,64] and scales [tiles,blocks,1 or 2,16] stand for, in float32.

    The matrix [rows,inputs] has whole tiles and blocks.
    """
    signed = codes_of_tiles(codes).astype(np.float32) - np.float32(1 << (codes.shape[2] - 1))
    numbers = numbers_of_tiles(scales.astype(np.float32))
    blocks = signed.reshape(*numbers.shape[:2], -1) * numbers[..., :1]
    if numbers.shape[2] == 2:
        blocks += numbers[..., 1:]
    matrix: NDArray[np.float32] = blocks.reshape(signed.shape)
    return matrix
