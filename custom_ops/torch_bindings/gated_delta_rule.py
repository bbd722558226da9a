"""``GatedDeltaRule`` in torch: chunk-parallel, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from deltaport.custom_ops.definitions import GATED_DELTA_RULE
from deltaport.custom_ops.torch_bindings.symbolic import emit, valid_tokens

__all__ = ["gated_delta_rule"]

CHUNK = 64


def gated_delta_rule(
    qkv: Tensor,
    a: Tensor,
    b: Tensor,
    A_log: Tensor,
    dt_bias: Tensor,
    state: Tensor,
    lengths: Tensor,
    *,
    norm_eps: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """Linear attention under the gated delta rule.

    qkv [B,T,2*Hk*Dk+Hv*Dv], a and b [B,T,Hv], A_log and dt_bias [Hv], state [B,Hv,Dk,Dv],
    lengths [B] -> o [B,T,Hv*Dv], new state [B,Hv,Dk,Dv].
    """
    B, T, packed = qkv.shape
    _, Hv, Dk, Dv = state.shape
    if torch.compiler.is_exporting():
        o, new_state = emit(
            GATED_DELTA_RULE,
            (qkv, a, b, A_log, dt_bias, state, lengths),
            ((B, T, Hv * Dv), state.shape),
            norm_eps=norm_eps,
        )
        return o, new_state

    valid = valid_tokens(lengths, T)[..., None]
    Hk = (packed - Hv * Dv) // (2 * Dk)
    qkv = torch.where(valid, qkv, 0)
    q, k, v = torch.split(qkv, [Hk * Dk, Hk * Dk, Hv * Dv], dim=-1)
    q = _l2_norm(q.view(B, T, Hk, 1, Dk), norm_eps) * Dk**-0.5
    k = _l2_norm(k.view(B, T, Hk, 1, Dk), norm_eps)
    g = torch.where(valid, -A_log.exp() * F.softplus(a + dt_bias), 0)
    beta = torch.where(valid, b.sigmoid(), 0)

    # Heads lead, tokens last but one; a value head is (key head, position in its group).
    per_token = (
        q.permute(0, 2, 3, 1, 4),
        k.permute(0, 2, 3, 1, 4),
        v.view(B, T, Hk, Hv // Hk, Dv).permute(0, 2, 3, 1, 4),
        g.view(B, T, Hk, Hv // Hk).permute(0, 2, 3, 1),
        beta.view(B, T, Hk, Hv // Hk).permute(0, 2, 3, 1),
    )
    S = state.view(B, Hk, Hv // Hk, Dk, Dv)
    outputs = []
    for start in range(0, T, CHUNK):
        window = slice(start, start + CHUNK)
        qc, kc, vc, gc, bc = (x[:, :, :, window] for x in per_token)
        o_chunk, S = _one_chunk(qc, kc, vc, gc, bc, S)
        outputs.append(o_chunk)
    o = torch.cat(outputs, dim=3)  # [B,Hk,R,T,Dv]
    return o.permute(0, 3, 1, 2, 4).reshape(B, T, Hv * Dv), S.reshape(state.shape)


def _l2_norm(x: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + eps)


def _one_chunk(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, S: Tensor
) -> tuple[Tensor, Tensor]:
    """One chunk in WY form.

    q, k [B,Hk,1,C,Dk], v [B,Hk,R,C,Dv], g, beta [B,Hk,R,C], S [B,Hk,R,Dk,Dv].
    Writing u_t for beta_t (v_t - k_t^T S_t), the rows of u solve (I + A) u = beta (V - e^G K S)
    with A[j,i] = beta_j (k_j . k_i) e^(g_(i+1) + ... + g_j) below the diagonal.
    """
    C = g.shape[-1]
    below = torch.ones(C, C, dtype=torch.bool, device=g.device).tril(-1)
    # Sums over just the tokens between i and j: differences of one running sum would cancel.
    between = torch.where(below, g[..., :, None], 0).cumsum(-2)
    decay = torch.where(below.T, 0, between.exp())
    from_start = g.cumsum(-1).exp()[..., None]
    to_end = between[..., -1, :].exp()[..., None]
    A = torch.where(below, k @ k.mT * decay * beta[..., None], 0)
    u = torch.linalg.solve_triangular(
        A, beta[..., None] * (v - from_start * (k @ S)), upper=False, unitriangular=True
    )
    o = from_start * (q @ S) + (q @ k.mT * decay) @ u
    S = from_start[..., -1:, :] * S + (k * to_end).mT @ u
    return o, S
