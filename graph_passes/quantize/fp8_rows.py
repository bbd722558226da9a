"""Codes and scales of a matrix of weights in fp8: e4m3, with a scale for each row."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

__all__ = ["fp8_codes", "fp8_scales"]

_BITS, _FRACTION = 9, 0.875
"""The largest code is 448: 0.875 times 2 to the power of 9."""
_LEAST = -126
"""The exponent of the smallest normal number of bfloat16 and float32."""


def fp8_scales(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """A scale [rows] for each row of a matrix [rows,inputs] of finite values.

    It is the least power of two that leaves no value beyond the largest code. Such a scale is the
    same in any dtype with room for it, and so is its product with a code: dequantizing adds no
    error. It costs at most one of the powers of two that small values have room in.
    """
    fraction, exponent = np.frexp(np.abs(matrix).max(axis=-1))
    least = exponent - _BITS + (fraction > _FRACTION)
    scales: NDArray[np.float32] = np.ldexp(np.float32(1), np.maximum(least, _LEAST))
    return scales


def fp8_codes(matrix: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[Any]:
    """The nearest e4m3 of each value over its row's scale, of two the even one, [rows,inputs]."""
    largest = _FRACTION * 2**_BITS
    values = np.clip(matrix / scales[:, np.newaxis], -largest, largest)
    codes: NDArray[Any] = values.astype(ml_dtypes.float8_e4m3fn)
    return codes
