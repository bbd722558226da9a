"""Oracle of ``GatedDeltaRule``: the recurrence itself, one token at a time."""

from __future__ import annotations

import numpy as np

from tests.oracles import Array, Doubles, doubles, sigmoid, softplus

__all__ = ["gated_delta_rule"]


def gated_delta_rule(
    qkv: Array,
    a: Array,
    b: Array,
    A_log: Array,
    dt_bias: Array,
    state: Array,
    lengths: Array,
    norm_eps: float = 1e-6,
) -> tuple[Doubles, Doubles]:
    """Return (o [B,T,Hv*Dv], new_state [B,Hv,Dk,Dv])."""
    B, T, packed = qkv.shape
    _, Hv, Dk, Dv = state.shape
    Hk = (packed - Hv * Dv) // (2 * Dk)
    key_head_of = np.arange(Hv) // (Hv // Hk)
    rate = np.exp(doubles(A_log))
    o = np.zeros((B, T, Hv * Dv))
    new_state = doubles(state)
    for row in range(B):
        S = new_state[row]
        for t in range(lengths[row]):
            q, k, v = np.split(doubles(qkv[row, t]), [Hk * Dk, 2 * Hk * Dk])
            q = _unit(q.reshape(Hk, Dk), norm_eps)[key_head_of] * Dk**-0.5
            k = _unit(k.reshape(Hk, Dk), norm_eps)[key_head_of]
            v = v.reshape(Hv, Dv)
            decay = np.exp(-rate * softplus(doubles(a[row, t]) + doubles(dt_bias)))
            beta = sigmoid(doubles(b[row, t]))
            S *= decay[:, None, None]
            recalled = np.einsum("hk,hkv->hv", k, S)
            S += np.einsum("hk,hv->hkv", k, beta[:, None] * (v - recalled))
            o[row, t] = np.einsum("hk,hkv->hv", q, S).ravel()
    return o, new_state


def _unit(heads: Doubles, eps: float) -> Doubles:
    norm: Doubles = np.sqrt(np.square(heads).sum(axis=-1, keepdims=True) + eps)
    return heads / norm
