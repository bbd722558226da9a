"""The layout of quantized weights: tiles of 16 rows by 32 inputs.

What the bytes mean is told in ``custom_ops.definitions.quantized_weights``.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deltaport.weight_format import GROUP_INPUTS, TILE_ROWS

__all__ = ["code_tiles", "matrix_of_tiles", "scale_tiles"]


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


def matrix_of_tiles(codes: NDArray[np.uint8], scales: NDArray[Any]) -> NDArray[np.float32]:
    """What codes [tiles,groups,bits,64] and scales [tiles,blocks,1 or 2,16] stand for, in float32.

    The matrix [rows,inputs] has whole tiles and blocks.
    """
    tiles, groups, bits, _ = codes.shape
    chunks = codes.reshape(tiles, groups, bits, TILE_ROWS, 4)
    if bits == 4:
        halves = np.stack([chunks & np.uint8(15), chunks >> np.uint8(4)], axis=3)
        chunks = halves.reshape(tiles, groups, 8, TILE_ROWS, 4)
    rows = np.moveaxis(chunks, 3, 1).reshape(tiles, TILE_ROWS, groups * GROUP_INPUTS)
    signed = rows.astype(np.float32) - np.float32(1 << (bits - 1))
    numbers = np.moveaxis(scales.astype(np.float32), 3, 1)  # [tiles, rows, blocks, 1 or 2]
    blocks = signed.reshape(tiles, TILE_ROWS, numbers.shape[2], -1) * numbers[..., :1]
    if numbers.shape[3] == 2:
        blocks += numbers[..., 1:]
    matrix: NDArray[np.float32] = blocks.reshape(tiles * TILE_ROWS, -1)
    return matrix
