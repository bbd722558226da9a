"""Oracle of ``AddRMSNorm``: one token at a time."""

from __future__ import annotations

import numpy as np

from tests.oracles import Array, Doubles, doubles, rms_norm

__all__ = ["add_rms_norm"]


def add_rms_norm(
    x: Array, residual: Array, scale: Array, norm_eps: float = 1e-6
) -> tuple[Doubles, Doubles]:
    """Return (y [B,T,H], sum [B,T,H])."""
    y, total = np.zeros(x.shape), np.zeros(x.shape)
    for token in np.ndindex(x.shape[:2]):
        total[token] = doubles(x[token]) + doubles(residual[token])
        y[token] = rms_norm(total[token], scale, norm_eps)
    return y, total
