"""What a parameter of the text model is there for, told by its name."""

from __future__ import annotations

__all__ = ["MATRIX_ROLES", "role_of"]

# The part of a name inside its layer, up to ".weight" or ".bias". Norms are found by their suffix.
_ROLES = {
    "model.embed_tokens": "embedding",
    "lm_head": "lm_head",
    "linear_attn.A_log": "linear_attn.gates",
    "linear_attn.conv1d": "linear_attn.conv",
    "linear_attn.dt_bias": "linear_attn.gates",
    "linear_attn.in_proj_a": "linear_attn.in_proj_ba",
    "linear_attn.in_proj_b": "linear_attn.in_proj_ba",
    "linear_attn.in_proj_qkv": "linear_attn.in_proj",
    "linear_attn.in_proj_z": "linear_attn.in_proj",
    "linear_attn.out_proj": "linear_attn.out_proj",
    "mlp.down_proj": "mlp",
    "mlp.experts.down_proj": "experts",
    "mlp.experts.gate_up_proj": "experts",
    "mlp.gate": "router",
    "mlp.gate_proj": "mlp",
    "mlp.shared_expert.down_proj": "shared_expert",
    "mlp.shared_expert.gate_proj": "shared_expert",
    "mlp.shared_expert.up_proj": "shared_expert",
    "mlp.shared_expert_gate": "shared_expert_gate",
    "mlp.up_proj": "mlp",
    "self_attn.k_proj": "self_attn.qkv_proj",
    "self_attn.o_proj": "self_attn.o_proj",
    "self_attn.q_proj": "self_attn.qkv_proj",
    "self_attn.v_proj": "self_attn.qkv_proj",
    "input_layernorm": "norm",
    "linear_attn.norm": "norm",
    "model.norm": "norm",
    "post_attention_layernorm": "norm",
    "self_attn.k_norm": "norm",
    "self_attn.q_norm": "norm",
}

MATRIX_ROLES = tuple(
    dict.fromkeys(
        role
        for role in _ROLES.values()
        if role not in ("linear_attn.conv", "linear_attn.gates", "norm", "shared_expert_gate")
    )
)
"""Roles of matrices that can be quantized. A head that is tied is ``embedding``; the shared
expert's gate has a single row and is part of the mixture's op."""


def role_of(name: str) -> str:
    """What the parameter ``name``, as ``exporter.model_size.parameter_shapes`` has it, is for.

    The output gate ``in_proj_z`` counts as ``linear_attn.in_proj``; ``in_proj_a`` and ``in_proj_b``
    are ``linear_attn.in_proj_ba``; ``linear_attn.gates`` are the per-head decay and its offset
    (``A_log``, ``dt_bias``). A bias has the role of its matrix. Raises KeyError for a name that no
    text model has.
    """
    local = name.removesuffix(".weight").removesuffix(".bias")
    parts = local.split(".")
    if parts[:2] == ["model", "layers"] and len(parts) > 3:
        local = ".".join(parts[3:])
    return _ROLES[local]
