"""Oracle of ``SharedExpertMoE``: each token runs its own experts, and the one all tokens share."""

from __future__ import annotations

import numpy as np

from tests.oracles import Array, Doubles, doubles, sigmoid, silu
from tests.oracles.sparse_moe import sparse_moe

__all__ = ["shared_expert_moe"]


def shared_expert_moe(
    x: Array,
    router_logits: Array,
    gate_up: Array,
    down: Array,
    shared_gate: Array,
    shared_gate_up: Array,
    shared_down: Array,
    lengths: Array,
    *,
    top_k: int,
) -> Doubles:
    """Return y [B,T,H]."""
    y = sparse_moe(x, router_logits, gate_up, down, lengths, top_k=top_k)
    for row, length in enumerate(lengths):
        for t in range(length):
            token = doubles(x[row, t])
            gate, up = np.split(doubles(shared_gate_up) @ token, 2)
            share = sigmoid(doubles(shared_gate) @ token)
            y[row, t] += share * (doubles(shared_down) @ (silu(gate) * up))
    return y
