"""Oracle of ``QuantizedLinear``: one token at a time."""

from __future__ import annotations

import numpy as np

from tests.oracles import Array, Doubles
from tests.oracles.quantized_weights import rounded_token, unpacked

__all__ = ["quantized_linear"]


def quantized_linear(x: Array, weight: Array, weight_scales: Array, outputs: int) -> Doubles:
    """Return y [B,T,No]."""
    matrix = unpacked(weight, weight_scales)
    y = np.zeros((*x.shape[:2], outputs))
    for token in np.ndindex(x.shape[:2]):
        y[token] = (matrix @ rounded_token(x[token], matrix.shape[1]))[:outputs]
    return y
