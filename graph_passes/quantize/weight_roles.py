"""What a weight is there for, which is what recipes go by."""

from __future__ import annotations

import re

__all__ = ["WEIGHT_ROLES", "role_of"]

_LAYER = r"model\.layers\.[0-9]+\."
WEIGHT_ROLES = {
    "embedding": r"model\.embed_tokens\.weight",
    "lm_head": r"lm_head\.weight",
    "linear_attn.in_proj": _LAYER + r"linear_attn\.in_proj_(qkv|z)\.weight",
    "linear_attn.in_proj_ba": _LAYER + r"linear_attn\.in_proj_[ba]\.weight",
    "linear_attn.out_proj": _LAYER + r"linear_attn\.out_proj\.weight",
    "self_attn.qkv_proj": _LAYER + r"self_attn\.[qkv]_proj\.weight",
    "self_attn.o_proj": _LAYER + r"self_attn\.o_proj\.weight",
    "mlp": _LAYER + r"mlp\.(gate|up|down)_proj\.weight",
    "router": _LAYER + r"mlp\.gate\.weight",
    "experts": _LAYER + r"mlp\.experts\.(gate_up|down)_proj",
    "shared_expert": _LAYER + r"mlp\.shared_expert\.(gate|up|down)_proj\.weight",
    "shared_expert_gate": _LAYER + r"mlp\.shared_expert_gate\.weight",
}
"""Roles of matrices, with the names of the parameters that have them. A tied head is ``embedding``;
norms, convolution taps, ``A_log`` and ``dt_bias`` have no role and are never quantized."""

_PATTERNS = {role: re.compile(pattern) for role, pattern in WEIGHT_ROLES.items()}


def role_of(parameter: str) -> str | None:
    """The role of the parameter with this canonical name, None for one that has none."""
    return next((role for role, each in _PATTERNS.items() if each.fullmatch(parameter)), None)
