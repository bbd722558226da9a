"""Codes and scales of a matrix of weights, by the native quantizer."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deltaport.errors import InputError
from deltaport.runtime.kernel_library import ISA_VARIABLE, kernel_library, supported_isas
from deltaport.threads import available_threads
from deltaport.weight_format import GROUP_INPUTS, TILE_ROWS, WeightFormat

__all__ = ["quantize_rows"]

_NO_SUCH_ISA, _NO_MEMORY = 2, 3


def quantize_rows(
    values: NDArray[np.float32], stored: WeightFormat
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Return codes [tiles,groups,bits,64] and scales [tiles,blocks,1 or 2,16] of [rows,inputs].

    Rows are padded to whole tiles and inputs to whole blocks, of zeros. ``values`` are finite.
    Each block gets the scale, and perhaps the offset, of least squared error among some dozen
    candidates, refined by least squares for the codes it gives, as bfloat16 will hold them.
    The bytes are the same on every machine.
    """
    rows, inputs = values.shape
    tiles, blocks = -(-rows // TILE_ROWS), -(-inputs // stored.block)
    groups = blocks * stored.block // GROUP_INPUTS
    codes = np.empty((tiles, groups, stored.bits, 4 * TILE_ROWS), np.uint8)
    scales = np.empty((tiles, blocks, stored.numbers, TILE_ROWS), np.uint16)
    given = np.ascontiguousarray(values, np.float32)
    problem = _entry()(
        given.ctypes.data,
        rows,
        inputs,
        stored.bits,
        stored.numbers - 1,
        stored.block,
        available_threads(),
        codes.ctypes.data,
        scales.ctypes.data,
    )
    if problem == _NO_SUCH_ISA:
        raise InputError(
            f"{ISA_VARIABLE} is {os.environ.get(ISA_VARIABLE)!r}, but this machine runs: "
            f"{', '.join(supported_isas())}; unset it to have the first"
        )
    if problem == _NO_MEMORY:
        raise MemoryError
    if problem:
        raise ValueError(f"{stored}: no format of weights")
    return codes, scales.view(ml_dtypes.bfloat16)


@cache
def _entry() -> Any:
    entry = ctypes.CDLL(str(kernel_library())).deltaport_quantize
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    number = ctypes.c_int
    entry.argtypes = [pointer, size, size, number, number, size, number, pointer, pointer]
    return entry
