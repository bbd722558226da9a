"""The layout of quantized weights: tiles of 16 rows by 32 inputs.

What the bytes mean is told in ``custom_ops.definitions.quantized_weights``.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deltaport.weight_format import GROUP_INPUTS, TILE_ROWS

__all__ = ["code_tiles", "scale_tiles"]


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
