"""Oracle of ``SparseMoE``: each token runs its own experts, one after another."""

from __future__ import annotations

import numpy as np

from tests.oracles import Array, Doubles, doubles, silu

__all__ = ["chosen_experts", "sparse_moe"]


def sparse_moe(
    x: Array, router_logits: Array, gate_up: Array, down: Array, lengths: Array, *, top_k: int
) -> Doubles:
    """Return y [B,T,H]."""
    y = np.zeros(x.shape)
    for row, length in enumerate(lengths):
        for t in range(length):
            token = doubles(x[row, t])
            logits = doubles(router_logits[row, t])
            experts = chosen_experts(logits, top_k)
            # The other experts' probabilities cancel when the chosen ones are renormalised.
            shares = np.exp(logits[experts] - logits.max())
            shares /= shares.sum()
            for expert, share in zip(experts, shares, strict=True):
                gate, up = np.split(doubles(gate_up[expert]) @ token, 2)
                y[row, t] += share * (doubles(down[expert]) @ (silu(gate) * up))
    return y


def chosen_experts(logits: Array, top_k: int) -> Array:
    """The ``top_k`` most probable experts; of equally probable ones the lowest index."""
    return np.argsort(-logits, kind="stable")[:top_k]
