"""Oracle of ``SwiGLU``: one token at a time."""

from __future__ import annotations

import numpy as np

from tests.oracles import Array, Doubles, doubles, silu

__all__ = ["swiglu"]


def swiglu(gate_up: Array) -> Doubles:
    """Return y [B,T,I]."""
    B, T, both = gate_up.shape
    y = np.zeros((B, T, both // 2))
    for token in np.ndindex(B, T):
        gate, up = np.split(doubles(gate_up[token]), 2)
        y[token] = silu(gate) * up
    return y
