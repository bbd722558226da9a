"""What parameters are there for, by their names."""

from __future__ import annotations

import pytest

from deltaport.weight_roles import role_of


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("model.norm.weight", "norm"),
        ("model.layers.11.linear_attn.norm.weight", "norm"),
        ("model.layers.0.linear_attn.in_proj_z.weight", "linear_attn.in_proj"),
        ("model.layers.0.linear_attn.in_proj_a.weight", "linear_attn.in_proj_ba"),
        ("model.layers.0.linear_attn.A_log", "linear_attn.gates"),
        ("model.layers.3.self_attn.q_proj.bias", "self_attn.qkv_proj"),
        ("model.layers.3.mlp.gate.weight", "router"),
        ("model.layers.3.mlp.gate_proj.weight", "mlp"),
        ("model.layers.3.mlp.shared_expert_gate.weight", "shared_expert_gate"),
        ("model.layers.3.mlp.experts.down_proj", "experts"),
    ],
)
def test_role(name: str, role: str) -> None:
    assert role_of(name) == role


@pytest.mark.parametrize(
    "name", ["", "model.layers.0", "model.visual.norm.weight", "mtp.fc.weight"]
)
def test_unknown_name_has_no_role(name: str) -> None:
    with pytest.raises(KeyError):
        role_of(name)
