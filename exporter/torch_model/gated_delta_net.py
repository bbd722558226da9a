"""The linear-attention mixer (``Qwen3_5MoeGatedDeltaNet``).

1. qkv = conv(in_proj_qkv x); z, a, b = in_proj_{z,a,b} x
2. o = gated delta rule (qkv, a, b), carrying the recurrent state
3. y = out_proj(rmsnorm(o) * weight * silu(z)), the norm per value head

State: conv [B,K-1,2*Hk*Dk+Hv*Dv], recurrent [B,Hv,Dk,Dv].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deltaport.custom_ops.torch_bindings import causal_conv1d, gated_delta_rule, rms_norm
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.torch_model.layers import Linear

__all__ = ["GatedDeltaNet"]


class _DepthwiseConv(nn.Module):
    """Holds the taps [C,1,K] under the name the checkpoint uses."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel_size))


class _HeadNorm(nn.Module):
    """Holds the scale of the gated norm, [Dv]; not zero-centred."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))


class GatedDeltaNet(nn.Module):
    """Gated DeltaNet mixer; see the module docstring for the maths."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        dims = spec.linear_attention
        self.num_value_heads = dims.num_value_heads
        self.value_head_dim = dims.value_head_dim
        self.eps = spec.rms_norm_eps
        self.in_proj_qkv = Linear(spec.hidden_size, dims.conv_dim)
        self.in_proj_z = Linear(spec.hidden_size, dims.value_dim)
        self.in_proj_b = Linear(spec.hidden_size, dims.num_value_heads)
        self.in_proj_a = Linear(spec.hidden_size, dims.num_value_heads)
        self.conv1d = _DepthwiseConv(dims.conv_dim, dims.conv_kernel_size)
        self.A_log = nn.Parameter(torch.zeros(dims.num_value_heads))
        self.dt_bias = nn.Parameter(torch.ones(dims.num_value_heads))
        self.norm = _HeadNorm(dims.value_head_dim)
        self.out_proj = Linear(dims.value_dim, spec.hidden_size)

    def forward(
        self, x: Tensor, conv_state: Tensor, recurrent_state: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """X [B,T,hidden] -> y [B,T,hidden] and the new conv and recurrent states."""
        qkv, conv_state = causal_conv1d(
            self.in_proj_qkv(x), self.conv1d.weight.squeeze(1), conv_state, lengths
        )
        o, recurrent_state = gated_delta_rule(
            qkv,
            self.in_proj_a(x),
            self.in_proj_b(x),
            self.A_log.float(),
            self.dt_bias.float(),
            recurrent_state,
            lengths,
        )
        heads = o.view(*o.shape[:2], self.num_value_heads, self.value_head_dim)
        normed = rms_norm(heads, self.norm.weight.float(), self.eps)
        z = self.in_proj_z(x)
        return self.out_proj(normed.flatten(-2) * F.silu(z)), conv_state, recurrent_state
