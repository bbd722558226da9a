"""Oracle of the quantized mixtures: each token runs its own experts, one after another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.oracles import Array, Doubles, doubles, sigmoid, silu
from tests.oracles.quantized_weights import rounded_token, unpacked
from tests.oracles.sparse_moe import chosen_experts

__all__ = ["quantized_moe"]

_TIE = 2e-4
"""Of a code: what float32 may be off by where a value lies between two of them."""


def quantized_moe(
    case: dict[str, Array], *, top_k: int, inner: int, shared_inner: int = 0
) -> tuple[Doubles, Array]:
    """Return y [B,T,H], and [B,T]: which tokens have no inner activation between two codes."""
    x, lengths = case["x"], case["lengths"]
    y, decided = np.zeros(x.shape), np.ones(x.shape[:2], bool)
    for row, length in enumerate(lengths):
        for t in range(length):
            for share, expert in _experts(case, row, t, top_k, inner, shared_inner):
                out, sure = _run(x[row, t], *expert)
                y[row, t] += share * out
                decided[row, t] &= sure
    return y, decided


def _experts(
    case: dict[str, Array], row: int, t: int, top_k: int, inner: int, shared_inner: int
) -> Iterator[tuple[float, tuple[Doubles, Doubles, int]]]:
    logits = doubles(case["router_logits"][row, t])
    chosen = chosen_experts(logits, top_k)
    shares = np.exp(logits[chosen] - logits.max())
    shares /= shares.sum()
    for e, share in zip(chosen, shares, strict=True):
        names = ("gate_up", "gate_up_scales", "down", "down_scales")
        gate_up, gate_up_scales, down, down_scales = (case[name][e] for name in names)
        weights = unpacked(gate_up, gate_up_scales), unpacked(down, down_scales)
        yield float(share), (*weights, inner)
    if shared_inner:
        share = sigmoid(doubles(case["shared_gate"]) @ doubles(case["x"][row, t]))
        gate_up = unpacked(case["shared_gate_up"], case["shared_gate_up_scales"])
        down = unpacked(case["shared_down"], case["shared_down_scales"])
        yield float(share[0]), (gate_up, down, shared_inner)


def _run(x: Array, gate_up: Doubles, down: Doubles, inner: int) -> tuple[Doubles, bool]:
    gate, up = (rows[:inner] for rows in np.split(gate_up, 2))
    token = rounded_token(x, gate_up.shape[1])
    hidden = (silu(gate @ token) * (up @ token)).astype(np.float32)
    values = rounded_token(hidden, down.shape[1])
    padded = np.zeros(down.shape[1])
    padded[:inner] = hidden
    groups = padded.reshape(-1, 32)
    most = np.abs(groups).max(1, keepdims=True)
    codes = groups * 127 / np.where(most > 0, most, 1)
    sure = bool((np.abs(np.abs(codes % 1) - 0.5) > _TIE).all())
    return (down @ values)[: len(x)], sure
