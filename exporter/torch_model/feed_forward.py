"""The two feed-forward kinds: a dense SwiGLU MLP, or a sparse mixture plus one shared expert."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deltaport.custom_ops.torch_bindings import sparse_moe
from deltaport.exporter.model_spec import SparseMoeSpec
from deltaport.exporter.torch_model.layers import Linear

__all__ = ["DenseMlp", "SparseMoeBlock"]


class DenseMlp(nn.Module):
    """``down(silu(gate x) * up x)``."""

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.gate_proj = Linear(hidden_size, intermediate_size)
        self.up_proj = Linear(hidden_size, intermediate_size)
        self.down_proj = Linear(intermediate_size, hidden_size)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """X [B,T,H] -> [B,T,H]. ``lengths`` is not needed: tokens do not mix here."""
        del lengths
        y: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return y


class _Experts(nn.Module):
    """The experts' weights, fused as transformers fuses them."""

    def __init__(self, hidden_size: int, moe: SparseMoeSpec) -> None:
        super().__init__()
        width = moe.expert_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(moe.num_experts, 2 * width, hidden_size))
        self.down_proj = nn.Parameter(torch.empty(moe.num_experts, hidden_size, width))


class SparseMoeBlock(nn.Module):
    """Routed experts plus a shared expert behind a sigmoid gate (``Qwen3_5MoeSparseMoeBlock``)."""

    def __init__(self, hidden_size: int, moe: SparseMoeSpec) -> None:
        super().__init__()
        self.top_k = moe.top_k
        self.gate = Linear(hidden_size, moe.num_experts)
        self.experts = _Experts(hidden_size, moe)
        self.shared_expert = DenseMlp(hidden_size, moe.shared_intermediate_size)
        self.shared_expert_gate = Linear(hidden_size, 1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """X [B,T,H] -> [B,T,H]; padded tokens select no expert."""
        routed = sparse_moe(
            x,
            self.gate(x),
            self.experts.gate_up_proj,
            self.experts.down_proj,
            lengths,
            top_k=self.top_k,
        )
        shared: Tensor = self.shared_expert_gate(x).sigmoid() * self.shared_expert(x, lengths)
        return routed + shared
