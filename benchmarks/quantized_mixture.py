"""The mixture of experts of ``benchmarks.quantized_kernels``."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.one_op import Array, model_bytes, our_model
from benchmarks.quantized_case import QuantizedCase, peer_op
from deltaport.custom_ops.definitions import QUANTIZED_MOE
from deltaport.graph_passes.quantize.code_layout import code_tiles, scale_tiles

__all__ = ["mixture_case"]

EXPERTS, HIDDEN, INNER, TOP_K = 128, 2048, 512, 8
ATTRIBUTES = {
    "k": TOP_K,
    "expert_weight_bits": 4,
    "activation_type": "swiglu",
    "swiglu_fusion": 1,
    "activation_alpha": 1.0,
    "activation_beta": 0.0,
    "normalize_routing_weights": 1,
}


def mixture_case(name: str, block: int, tokens: int) -> QuantizedCase:
    """128 experts of 2048 -> 512 -> 2048, of which each token takes 8."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, tokens, HIDDEN), np.float32)
    logits = rng.standard_normal((1, tokens, EXPERTS), np.float32)
    gate_up, gate_up_scales = _random(rng, 2 * INNER, HIDDEN, block)
    down, down_scales = _random(rng, HIDDEN, INNER, block)
    weights = {
        "gate_up": code_tiles(gate_up, 4),
        "gate_up_scales": scale_tiles(gate_up_scales[..., None]),
        "down": code_tiles(down, 4),
        "down_scales": scale_tiles(down_scales[..., None]),
    }
    feeds = {"x": x, "router_logits": logits, "lengths": np.array([tokens])}
    attributes = {"top_k": TOP_K, "inner": INNER}
    ours = our_model(QUANTIZED_MOE, feeds | weights, attributes, set(weights))
    # The peer takes an expert's gate and up rows in turn.
    turns = np.arange(2 * INNER).reshape(2, INNER).T.reshape(-1)
    stored = {
        "w1": _pairs(gate_up[:, turns]),
        "s1": gate_up_scales[:, turns],
        "w2": _pairs(down),
        "s2": down_scales,
    }
    inputs = ["x", "router_rows", "w1", "s1", "", "w2", "s2"]
    peers = {
        f"level {level}": peer_op(
            "QMoE",
            inputs,
            stored,
            ATTRIBUTES | {"block_size": block, "accuracy_level": level},
            {"x": [1, "T", HIDDEN], "router_rows": ["T", EXPERTS]},
        )
        for level in (0, 4)
    }
    used = EXPERTS * (1 - (1 - TOP_K / EXPERTS) ** tokens)

    def exact() -> Array:
        return _exact(x[0], logits[0], (gate_up, gate_up_scales), (down, down_scales), block)

    return QuantizedCase(
        name,
        feeds | {"router_rows": logits[0]},
        model_bytes(ours, weights),
        peers,
        exact,
        6.0 * tokens * TOP_K * HIDDEN * INNER,
        used * 3 * HIDDEN * INNER * (0.5 + 2 / block),
    )


def _random(rng: np.random.Generator, rows: int, inputs: int, block: int) -> tuple[Array, Array]:
    codes = rng.integers(0, 16, (EXPERTS, rows, inputs), dtype=np.uint8)
    # What bfloat16 holds, so that both have the same weights.
    scales = rng.integers(128, 256, (EXPERTS, rows, inputs // block)).astype(np.float32)
    return codes, scales * np.float32(2.0**-16)


def _pairs(codes: Array) -> Array:
    return (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8)


def _exact(
    x: Array, logits: Array, gate_up: tuple[Array, Array], down: tuple[Array, Array], block: int
) -> Array:
    def weight(stored: tuple[Array, Array], e: int) -> Array:
        codes, scales = (each[e].astype(np.float64) for each in stored)
        return (codes - 8) * np.repeat(scales, block, 1)

    chosen = np.argsort(-logits, 1, kind="stable")[:, :TOP_K]
    shares: Any = np.exp(np.take_along_axis(logits, chosen, 1).astype(np.float64))
    shares /= shares.sum(1, keepdims=True)
    y = np.zeros(x.shape)
    for e in np.unique(chosen):
        token, slot = np.nonzero(chosen == e)
        gate, up = np.split(x[token].astype(np.float64) @ weight(gate_up, e).T, 2, axis=1)
        inner = gate / (1 + np.exp(-gate)) * up
        y[token] += shares[token, slot, None] * (inner @ weight(down, e).T)
    return y[None]
