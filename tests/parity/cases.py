"""The checkpoints whose engines must agree with transformers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["CASES", "Case"]

_IRREGULAR = [f"{kind}_attention" for kind in ("full", "linear", "linear", "full", "linear")]
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 5.0,
    "original_max_position_embeddings": 64,
    "partial_rotary_factor": 0.5,
    "mrope_section": [4, 2, 2],
    "mrope_interleaved": True,
}


@dataclass(frozen=True)
class Case:
    """One checkpoint: arguments of ``tests.checkpoints.save_checkpoint``."""

    name: str
    seed: int
    checkpoint: dict[str, Any] = field(default_factory=dict)


_FULL_ROTARY = {
    "rope_type": "default",
    "rope_theta": 1e6,
    "partial_rotary_factor": 1.0,
    "mrope_section": [6, 5, 5],
}
_IRREGULAR_LAYERS = {
    "kind": "dense",
    "layer_types": _IRREGULAR,
    "num_hidden_layers": len(_IRREGULAR),
    "attention_bias": True,
}
# As users extend a context: rope parameters are added, max_position_embeddings stays.
_EXTENDED = {
    "kind": "dense",
    "tie": True,
    "rope_parameters": _YARN,
    "max_position_embeddings": 64,
}
_WIDE = {"num_experts": 64, "num_experts_per_tok": 8, "linear_num_value_heads": 6}

CASES = (
    Case("dense", 1, {"kind": "dense"}),
    Case("dense, tied, extended by yarn", 2, _EXTENDED),
    Case("moe 8 top-2, sharded", 3, {"max_shard_size": "200KB"}),
    Case("moe 64 top-8, 3x value heads", 4, _WIDE),
    Case("dense, irregular layers, attention bias", 5, _IRREGULAR_LAYERS),
    Case("vision-language moe", 6, {"wrapped": True, "mtp_tensors": 2, "max_shard_size": "200KB"}),
    Case("moe, one tensor per expert, tied", 7, {"per_expert": True, "tie": True}),
    Case("moe, stored as bf16", 8, {"dtype": torch.bfloat16}),
    Case(
        "moe, stored as fp16, full-head rotary",
        9,
        {"dtype": torch.float16, "rope_parameters": _FULL_ROTARY},
    ),
)
