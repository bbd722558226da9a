"""Oracle of weights in fp8: every code is looked at, straight from what its bits mean."""

from __future__ import annotations

import numpy as np

from tests.oracles import Array, Doubles, doubles

__all__ = ["CODES", "fp8_rounded"]

CODES = np.array(
    [
        m / 8 * 2.0**-6 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7)
        for e in range(16)
        for m in range(8)
    ]
)[:-1]
"""What the codes from 0 on stand for, 4 bits of exponent and 3 of fraction; the last is NaN."""


def fp8_rounded(matrix: Array) -> Doubles:
    """The matrix [rows, inputs] that codes and scales stand for."""
    return np.stack([_row(row) for row in doubles(matrix)])


def _row(values: Doubles) -> Doubles:
    scale = 2.0**-126
    while CODES[-1] * scale < np.abs(values).max():
        scale *= 2
    above = np.clip(np.searchsorted(CODES, np.abs(values) / scale), 1, len(CODES) - 1)
    distances = [np.abs(CODES[index] - np.abs(values) / scale) for index in (above - 1, above)]
    tie = distances[0] == distances[1]
    nearer = np.where(tie, above - above % 2, above - (distances[0] < distances[1]))
    return np.sign(values) * CODES[nearer] * scale
