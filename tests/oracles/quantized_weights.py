"""Oracle of quantized weights: packed and unpacked code by code, straight from the layout."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from tests.oracles import Array, Doubles, doubles

__all__ = ["pack_codes", "pack_scales", "rounded_token", "unpacked"]


def pack_codes(codes: Array, bits: int) -> Array:
    """``codes`` [rows, inputs], whole tiles and groups, as [Nt,Kg,bits,64] bytes."""
    rows, inputs = codes.shape
    packed = np.zeros((rows // 16, inputs // 32, bits, 64), np.uint8)
    n, k = np.indices(codes.shape)
    in_group = k % 32
    chunk, shift = (in_group // 4, 0) if bits == 8 else (in_group // 8, in_group % 8 // 4 * 4)
    place = n // 16, k // 32, chunk, n % 16 * 4 + in_group % 4
    np.bitwise_or.at(packed, place, (codes.astype(int) << shift).astype(np.uint8))
    return packed


def pack_scales(*numbers: Array) -> Array:
    """Scales, and perhaps offsets, [rows, blocks] each, as [Nt,Kb,S,16] in bfloat16."""
    rows, blocks = numbers[0].shape
    packed = np.zeros((rows // 16, blocks, len(numbers), 16), ml_dtypes.bfloat16)
    for s, each in enumerate(numbers):
        for n, b in np.ndindex(rows, blocks):
            packed[n // 16, b, s, n % 16] = each[n, b]
    return packed


def unpacked(weight: Array, scales: Array) -> Doubles:
    """The matrix [rows, inputs] that the two tensors stand for, padding included."""
    tiles, groups, bits, _ = weight.shape
    n, k = np.indices((tiles * 16, groups * 32))
    in_group = k % 32
    chunk, shift = (in_group // 4, 0) if bits == 8 else (in_group // 8, in_group % 8 // 4 * 4)
    stored = weight[n // 16, k // 32, chunk, n % 16 * 4 + in_group % 4].astype(int)
    codes = (stored >> shift) % 2**bits - 2 ** (bits - 1)
    block = k // (groups * 32 // scales.shape[1])
    scale, *offset = (
        doubles(scales)[n // 16, block, number, n % 16] for number in range(scales.shape[2])
    )
    matrix: Doubles = codes * scale + (offset[0] if offset else 0.0)
    return matrix


def rounded_token(x: Array, width: int) -> Doubles:
    """A token, padded to ``width``, as it is after rounding to int8 by groups of 32."""
    padded = np.zeros(width, np.float32)
    padded[: len(x)] = x
    values = np.zeros(width)
    for k in range(0, width, 32):
        group = padded[k : k + 32]
        if not np.isfinite(group).all():
            values[k : k + 32] = np.nan
            continue
        most = np.abs(group).max()
        if most >= np.float32(1e-30):
            # In float32: which way a tie goes is part of what the op is.
            codes = np.rint(group * (np.float32(127) / most))
            values[k : k + 32] = doubles(codes) * (float(most) / 127)
    return values
