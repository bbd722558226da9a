"""The full-attention mixer (``Qwen3_5MoeAttention``).

q_proj yields, per head, a query and the logits of its output gate. State: key and value caches
[B,Hkv,capacity,D] each.
"""

from __future__ import annotations

from torch import Tensor, nn

from deltaport.custom_ops.torch_bindings import gated_attention
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.torch_model.layers import Linear, ZeroCentredRMSNorm

__all__ = ["GatedAttention"]


class GatedAttention(nn.Module):
    """Gated grouped-query attention; the maths is that of the ``GatedAttention`` op."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        dims = spec.attention
        q_dim = dims.num_heads * dims.head_dim
        kv_dim = dims.num_key_value_heads * dims.head_dim
        self.eps = spec.rms_norm_eps
        self.scale = dims.head_dim**-0.5
        self.q_proj = Linear(spec.hidden_size, 2 * q_dim, bias=dims.bias)
        self.k_proj = Linear(spec.hidden_size, kv_dim, bias=dims.bias)
        self.v_proj = Linear(spec.hidden_size, kv_dim, bias=dims.bias)
        self.o_proj = Linear(q_dim, spec.hidden_size, bias=dims.bias)
        self.q_norm = ZeroCentredRMSNorm(dims.head_dim, spec.rms_norm_eps)
        self.k_norm = ZeroCentredRMSNorm(dims.head_dim, spec.rms_norm_eps)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        past_key: Tensor,
        past_value: Tensor,
        lengths: Tensor,
        past_lengths: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """X [B,T,hidden] -> y [B,T,hidden] and the two caches with the new tokens."""
        cos, sin = rotary
        o, present_key, present_value = gated_attention(
            self.q_proj(x),
            self.k_proj(x),
            self.v_proj(x),
            self.q_norm.scale,
            self.k_norm.scale,
            cos,
            sin,
            past_key,
            past_value,
            lengths,
            past_lengths,
            scale=self.scale,
            norm_eps=self.eps,
        )
        return self.o_proj(o), present_key, present_value
