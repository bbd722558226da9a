"""``GatedAttention`` in torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from deltaport.custom_ops.definitions import GATED_ATTENTION
from deltaport.custom_ops.torch_bindings.symbolic import emit, rms_norm, valid_tokens

__all__ = ["gated_attention"]


def gated_attention(
    q_gate: Tensor,
    k: Tensor,
    v: Tensor,
    q_norm: Tensor,
    k_norm: Tensor,
    cos: Tensor,
    sin: Tensor,
    past_key: Tensor,
    past_value: Tensor,
    lengths: Tensor,
    past_lengths: Tensor,
    *,
    scale: float,
    norm_eps: float = 1e-6,
) -> tuple[Tensor, Tensor, Tensor]:
    """Causal grouped-query attention with cache and sigmoid output gate.

    q_gate [B,T,Hq*2*D], k and v [B,T,Hkv*D], q_norm and k_norm [D], cos and sin [B,T,R/2],
    past_key and past_value [B,Hkv,capacity,D], lengths and past_lengths [B]
    -> o [B,T,Hq*D] and the two caches with the new tokens.
    """
    B, T, width = q_gate.shape
    _, Hkv, capacity, D = past_key.shape
    Hq = width // (2 * D)
    if torch.compiler.is_exporting():
        o, present_key, present_value = emit(
            GATED_ATTENTION,
            (q_gate, k, v, q_norm, k_norm, cos, sin, past_key, past_value, lengths, past_lengths),
            ((B, T, Hq * D), past_key.shape, past_value.shape),
            scale=scale,
            norm_eps=norm_eps,
        )
        return o, present_key, present_value

    q, gate = q_gate.view(B, T, Hq, 2 * D).chunk(2, dim=-1)
    q = _rotate(rms_norm(q, q_norm, norm_eps), cos, sin)  # [B,T,Hq,D]
    k = _rotate(rms_norm(k.view(B, T, Hkv, D), k_norm, norm_eps), cos, sin)
    v = v.view(B, T, Hkv, D)

    token = torch.arange(T, device=q.device)
    valid = valid_tokens(lengths, T)
    row, slot = valid.nonzero(as_tuple=True)
    column = past_lengths[row] + token[slot]
    present_key = _scatter(past_key, row, column, k[row, slot])
    present_value = _scatter(past_value, row, column, v[row, slot])

    columns = torch.arange(capacity, device=q.device)
    written = columns < (past_lengths + lengths)[:, None]  # [B,capacity]
    visible = columns <= past_lengths[:, None, None] + token[:, None]  # [B,T,capacity]
    keys = torch.where(written[:, None, :, None], present_key, 0)
    values = torch.where(written[:, None, :, None], present_value, 0)
    attended = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        keys,
        values,
        attn_mask=(visible & written[:, None])[:, None],
        scale=scale,
        enable_gqa=True,
    )
    o = attended.transpose(1, 2) * gate.sigmoid()  # [B,T,Hq,D]
    return (
        torch.where(valid[..., None], o.reshape(B, T, Hq * D), 0),
        present_key,
        present_value,
    )


def _scatter(cache: Tensor, row: Tensor, column: Tensor, tokens: Tensor) -> Tensor:
    """A copy of cache [B,Hkv,capacity,D] with tokens [n,Hkv,D] at (row, column)."""
    return cache.transpose(1, 2).index_put((row, column), tokens).transpose(1, 2)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + R/2) of the first R dimensions of x [B,T,H,D]."""
    half = cos.shape[-1]
    cos, sin = cos[:, :, None], sin[:, :, None]
    first, second, rest = torch.split(x, [half, half, x.shape[-1] - 2 * half], dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1)
