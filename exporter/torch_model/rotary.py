"""Rotary angles of multimodal positions (``Qwen3_5MoeTextRotaryEmbedding``)."""

from __future__ import annotations

import torch
from torch import Tensor

from deltaport.exporter.rope_spec import RopeSpec

__all__ = ["rotary_cos_sin"]


def rotary_cos_sin(rope: RopeSpec, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine, [B,T,R/2] each, for ``positions`` [3,B,T] (time, height, width).

    Each frequency follows one of the three axes (interleaved mRoPE), so one gather picks its
    position and one product makes its angle. Computed once per step and shared by all layers.
    """
    axis = torch.tensor(rope.axis_of_frequency(), dtype=torch.int64, device=positions.device)
    frequency = torch.tensor(
        rope.inverse_frequencies(), dtype=torch.float32, device=positions.device
    )
    angle = positions.index_select(0, axis).permute(1, 2, 0).float() * frequency
    cos, sin = angle.cos(), angle.sin()
    if rope.attention_scaling != 1.0:
        return cos * rope.attention_scaling, sin * rope.attention_scaling
    return cos, sin
