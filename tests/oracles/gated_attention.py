"""Oracle of ``GatedAttention``: grouped-query attention over a cache, one query at a time."""

from __future__ import annotations

import numpy as np

from tests.oracles import Array, Doubles, doubles, rms_norm, sigmoid

__all__ = ["gated_attention"]


def gated_attention(
    q_gate: Array,
    k: Array,
    v: Array,
    q_norm: Array,
    k_norm: Array,
    cos: Array,
    sin: Array,
    past_key: Array,
    past_value: Array,
    lengths: Array,
    past_lengths: Array,
    scale: float,
    norm_eps: float = 1e-6,
) -> tuple[Doubles, Doubles, Doubles]:
    """Return (o [B,T,Hq*D], present_key, present_value [B,Hkv,capacity,D]).

    ``present`` equals ``past`` wherever no token was written; compare its valid part only.
    """
    B, T, _ = k.shape
    _, Hkv, _, D = past_key.shape
    Hq = q_gate.shape[-1] // (2 * D)
    kv_head_of = np.arange(Hq) // (Hq // Hkv)
    o = np.zeros((B, T, Hq * D))
    present_key, present_value = doubles(past_key), doubles(past_value)
    for row in range(B):
        for t in range(lengths[row]):
            angles = doubles(cos[row, t]), doubles(sin[row, t])
            query, gate = np.split(doubles(q_gate[row, t]).reshape(Hq, 2 * D), 2, axis=-1)
            key = doubles(k[row, t]).reshape(Hkv, D)
            end = past_lengths[row] + t
            present_key[row, :, end] = _rotate(rms_norm(key, k_norm, norm_eps), *angles)
            present_value[row, :, end] = doubles(v[row, t]).reshape(Hkv, D)
            query = _rotate(rms_norm(query, q_norm, norm_eps), *angles)
            keys = present_key[row, kv_head_of, : end + 1]
            values = present_value[row, kv_head_of, : end + 1]
            scores = np.einsum("hd,hsd->hs", query, keys) * scale
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            weights /= weights.sum(axis=-1, keepdims=True)
            o[row, t] = (np.einsum("hs,hsd->hd", weights, values) * sigmoid(gate)).ravel()
    return o, present_key, present_value


def _rotate(heads: Doubles, cos: Doubles, sin: Doubles) -> Doubles:
    half = cos.size
    first, second, rest = np.split(heads, [half, 2 * half], axis=-1)
    turned = (first * cos - second * sin, second * cos + first * sin, rest)
    return np.concatenate(turned, axis=-1)
