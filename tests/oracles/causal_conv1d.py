"""Oracle of ``CausalConv1d``: a depthwise convolution over the last K tokens, then SiLU."""

from __future__ import annotations

import numpy as np

from tests.oracles import Array, Doubles, doubles, silu

__all__ = ["causal_conv1d"]


def causal_conv1d(x: Array, weight: Array, state: Array, lengths: Array) -> tuple[Doubles, Doubles]:
    """Return (y [B,T,C], new_state [B,K-1,C])."""
    taps = doubles(weight).T  # [K, C], oldest first
    K = len(taps)
    y = np.zeros(x.shape)
    new_state = np.zeros(state.shape)
    for row, length in enumerate(lengths):
        history = np.concatenate([doubles(state[row]), doubles(x[row, :length])])
        for t in range(length):
            y[row, t] = silu((taps * history[t : t + K]).sum(axis=0))
        new_state[row] = history[length:]
    return y, new_state
