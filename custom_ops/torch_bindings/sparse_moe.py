"""``SparseMoE`` in torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from deltaport.custom_ops.definitions import SPARSE_MOE
from deltaport.custom_ops.torch_bindings.symbolic import emit, valid_tokens

__all__ = ["sparse_moe"]


def sparse_moe(
    x: Tensor, router_logits: Tensor, gate_up: Tensor, down: Tensor, lengths: Tensor, *, top_k: int
) -> Tensor:
    """Softmax top-k routing over SwiGLU experts.

    x [B,T,H], router_logits [B,T,E], gate_up [E,2I,H], down [E,H,I], lengths [B] -> y [B,T,H].
    """
    if torch.compiler.is_exporting():
        (y,) = emit(SPARSE_MOE, (x, router_logits, gate_up, down, lengths), (x.shape,), top_k=top_k)
        return y

    valid = valid_tokens(lengths, x.shape[1]).flatten()
    tokens = x.flatten(0, 1)
    p = router_logits.flatten(0, 1).float().softmax(-1)
    p_chosen, chosen = p.topk(top_k, dim=-1)
    w = p_chosen / p_chosen.sum(-1, keepdim=True)
    chosen = torch.where(valid[:, None], chosen, -1)
    y = torch.zeros_like(tokens)
    for expert in torch.unique(chosen[chosen >= 0]).tolist():
        token, place = (chosen == expert).nonzero(as_tuple=True)
        gate, up = F.linear(tokens[token], gate_up[expert].to(x.dtype)).chunk(2, dim=-1)
        out = F.linear(F.silu(gate) * up, down[expert].to(x.dtype))
        y = y.index_add(0, token, out * w[token, place, None])
    return y.view_as(x)
