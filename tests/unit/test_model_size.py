"""Parameter names, shapes, counts and state sizes. Oracle: transformers modules on "meta"."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import transformers

from deltaport.exporter.model_size import (
    active_parameter_count,
    parameter_count,
    parameter_shapes,
    state_bytes_per_sequence,
    state_bytes_per_token,
)
from deltaport.exporter.model_spec import ModelSpec
from deltaport.weight_roles import role_of
from tests.configs import CONFIG_397B

# No two sizes are equal or multiples by accident, so that a swapped one shows.
TEXT: dict[str, Any] = {
    "model_type": "qwen3_5_text",
    "vocab_size": 101,
    "hidden_size": 36,
    "num_hidden_layers": 5,
    "full_attention_interval": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 14,
    "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 1.0, "rope_type": "default"},
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 10,
    "linear_value_head_dim": 22,
    "linear_conv_kernel_dim": 3,
    "intermediate_size": 58,
}
MOE_TEXT: dict[str, Any] = {
    **TEXT,
    "model_type": "qwen3_5_moe_text",
    "num_experts": 7,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 26,
    "shared_expert_intermediate_size": 46,
}
del MOE_TEXT["intermediate_size"]
VISION = {"depth": 1, "hidden_size": 32, "num_heads": 2, "out_hidden_size": 36}


def spec_of(config: dict[str, Any]) -> ModelSpec:
    return ModelSpec.from_config(config, source="config.json")


def reference_shapes(model_class: Any, config: Any) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = model_class(config)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("moe", [False, True], ids=["dense", "moe"])
def test_shapes_match_transformers(moe: bool, tied: bool, bias: bool) -> None:
    text = {**(MOE_TEXT if moe else TEXT), "attention_bias": bias, "tie_word_embeddings": tied}
    config_class = transformers.Qwen3_5MoeTextConfig if moe else transformers.Qwen3_5TextConfig
    model_class = transformers.Qwen3_5MoeForCausalLM if moe else transformers.Qwen3_5ForCausalLM
    expected = reference_shapes(model_class, config_class(**copy.deepcopy(text)))
    if tied:
        del expected["lm_head.weight"]  # a second name of the embedding in the state dict
    assert parameter_shapes(spec_of(text)) == expected


@pytest.mark.parametrize("moe", [False, True], ids=["dense", "moe"])
def test_wrapped_shapes_match_transformers(moe: bool) -> None:
    config = {
        "model_type": "qwen3_5_moe" if moe else "qwen3_5",
        "text_config": MOE_TEXT if moe else TEXT,
        "vision_config": VISION,
    }
    stem = "Qwen3_5Moe" if moe else "Qwen3_5"
    model_class = getattr(transformers, f"{stem}ForConditionalGeneration")
    config_class = getattr(transformers, f"{stem}Config")
    expected = {
        name.replace("model.language_model.", "model."): shape
        for name, shape in reference_shapes(
            model_class, config_class(**copy.deepcopy(config))
        ).items()
        if not name.startswith("model.visual.")
    }
    assert parameter_shapes(spec_of(config)) == expected


def test_every_parameter_has_a_role() -> None:
    roles = {
        role_of(name)
        for text in (TEXT, MOE_TEXT)
        for name in parameter_shapes(spec_of({**text, "attention_bias": True}))
    }
    assert roles == {
        "embedding",
        "experts",
        "linear_attn.conv",
        "linear_attn.gates",
        "linear_attn.in_proj",
        "linear_attn.in_proj_ba",
        "linear_attn.out_proj",
        "lm_head",
        "mlp",
        "norm",
        "router",
        "self_attn.o_proj",
        "self_attn.qkv_proj",
        "shared_expert",
        "shared_expert_gate",
    }


def large_moe() -> ModelSpec:
    return spec_of(CONFIG_397B)


def test_counts_match_the_name_of_the_largest_model() -> None:
    spec = large_moe()
    assert parameter_count(spec) == pytest.approx(397e9, rel=0.005)
    assert active_parameter_count(spec) == pytest.approx(17e9, rel=0.05)


def test_state_of_the_largest_model() -> None:
    spec = large_moe()
    conv = (2 * 16 * 128 + 64 * 128) * 3
    assert state_bytes_per_sequence(spec) == 45 * 4 * (conv + 64 * 128 * 128)
    assert state_bytes_per_token(spec) == 15 * 4 * 2 * 2 * 256


def test_parameter_count_of_a_tied_model_counts_the_table_once() -> None:
    table = 101 * 36
    untied, tied = spec_of(TEXT), spec_of({**TEXT, "tie_word_embeddings": True})
    assert parameter_count(untied) - parameter_count(tied) == table
    # One table is multiplied with either way: the output head.
    assert active_parameter_count(untied) == active_parameter_count(tied) == parameter_count(tied)


def test_active_count_takes_top_k_experts() -> None:
    spec = spec_of(MOE_TEXT)
    idle = 5 * (7 - 3) * 3 * 26 * 36
    assert active_parameter_count(spec) == parameter_count(spec) - idle - 101 * 36


def test_parameter_count_matches_transformers() -> None:
    with torch.device("meta"):
        config = transformers.Qwen3_5MoeTextConfig(**copy.deepcopy(MOE_TEXT))
        model = transformers.Qwen3_5MoeForCausalLM(config)
    assert parameter_count(spec_of(MOE_TEXT)) == sum(math.prod(p.shape) for p in model.parameters())
