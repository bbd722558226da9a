"""Oracle of ``Linear``: one token at a time."""

from __future__ import annotations

import numpy as np

from tests.oracles import Array, Doubles, doubles

__all__ = ["linear"]


def linear(x: Array, weight: Array) -> Doubles:
    """Return y [B,T,No]."""
    y = np.zeros((*x.shape[:2], weight.shape[0]))
    for token in np.ndindex(x.shape[:2]):
        y[token] = doubles(x[token]) @ doubles(weight).T
    return y
