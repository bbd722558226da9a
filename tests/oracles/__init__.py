"""Float64 NumPy oracles: each op's definition, followed token by token.

They are written from the mathematical definition, not from any implementation, and prefer being
obvious to being fast. A row's padded tokens are never read. Weights of any dtype are taken at
their stored value, so a half-precision checkpoint is judged on the weights it really holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Doubles", "doubles", "rms_norm", "sigmoid", "silu", "softplus"]

Array = NDArray[Any]
Doubles = NDArray[np.float64]


def doubles(array: Array) -> Doubles:
    """A float64 copy."""
    return array.astype(np.float64)


def softplus(x: Doubles) -> Doubles:
    """log(1 + exp(x)), without overflow."""
    return np.logaddexp(0.0, x)


def sigmoid(x: Doubles) -> Doubles:
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-softplus(-x))


def silu(x: Doubles) -> Doubles:
    """x * sigmoid(x)."""
    return x * sigmoid(x)


def rms_norm(x: Doubles, scale: Array, eps: float) -> Doubles:
    """X / sqrt(mean(x^2) + eps) * scale, over the last axis."""
    root_mean_square: Doubles = np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + eps)
    return x / root_mean_square * doubles(scale)
