"""Quantized weights to run kernels on."""

from __future__ import annotations

import numpy as np

from tests.oracles import Array
from tests.oracles.quantized_weights import pack_codes, pack_scales

__all__ = ["random_weight"]


def random_weight(
    rng: np.random.Generator, rows: int, inputs: int, *, bits: int, offsets: bool, block: int
) -> tuple[Array, Array]:
    """Codes and scales of a weight of random codes, some 1 / sqrt(inputs) large; padding too."""
    tiles, blocks = -(-rows // 16), -(-inputs // block)
    # 8 bits leave out the lowest code, as scales are symmetric.
    codes = rng.integers(1 if bits == 8 else 0, 2**bits, (tiles * 16, blocks * block))
    size = inputs**-0.5 / 2 ** (bits - 1)
    numbers = [rng.uniform(0.5, 1.5, (tiles * 16, blocks)) * size]
    if offsets:
        numbers.append(rng.normal(size=numbers[0].shape) * size)
    return pack_codes(codes, bits), pack_scales(*numbers)
