"""Rotary angles against transformers, the three axes apart and far out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5TextRotaryEmbedding

from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.torch_model.rotary import inverse_frequencies, rotary_cos_sin

ROPES: dict[str, dict[str, Any]] = {
    "default": {"rope_type": "default", "mrope_section": [11, 11, 10]},
    "sections of other sizes": {"rope_type": "default", "mrope_section": [20, 8, 4]},
    "whole head": {"rope_type": "default", "partial_rotary_factor": 1.0},
    "yarn": {
        "rope_type": "yarn",
        "factor": 8.0,
        "original_max_position_embeddings": 32768,
        "mrope_section": [11, 11, 10],
    },
    "yarn, own attention factor": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 32768,
        "attention_factor": 1.5,
    },
}


@pytest.mark.parametrize("name", ROPES)
@pytest.mark.parametrize("longest", [512, 1_000_000])
def test_angles_equal_transformers(name: str, longest: int) -> None:
    rope = {"rope_theta": 1e7, "partial_rotary_factor": 0.25, "mrope_interleaved": True}
    config = transformers.Qwen3_5TextConfig(
        head_dim=256, max_position_embeddings=262144, rope_parameters=rope | ROPES[name]
    )
    spec = ModelSpec.from_config(config.to_dict(), source="test")
    generator = torch.Generator().manual_seed(longest)
    positions = torch.randint(0, longest, (3, 2, 50), generator=generator)

    cos, sin = rotary_cos_sin(spec.rope, inverse_frequencies(spec.rope), positions)
    # theirs repeat the angles for the second half of each rotated pair
    expected = Qwen3_5TextRotaryEmbedding(config)(torch.zeros(1), positions)
    for found, whole in zip((cos, sin), expected, strict=True):
        half = whole[..., : whole.shape[-1] // 2]
        # Not close: equal. See inverse_frequencies for what one bit would do.
        assert torch.equal(found, half)
