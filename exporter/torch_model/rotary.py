"""Rotary angles of multimodal positions (``Qwen3_5MoeTextRotaryEmbedding``)."""

from __future__ import annotations

import torch
from torch import Tensor

from deltaport.exporter.rope_spec import RopeSpec

__all__ = ["inverse_frequencies", "rotary_cos_sin"]


def inverse_frequencies(rope: RopeSpec) -> Tensor:
    """Radians per position of each of the R/2 rotated pairs, float32.

    In float32 and in the order of transformers, to the last bit: at a position of a million, one
    bit of a frequency is 0.06 radians, and a model has learnt from the bits transformers uses.
    """
    exponents = torch.arange(0, rope.rotary_dim, 2, dtype=torch.float32) / rope.rotary_dim
    wavelengths = rope.theta**exponents
    if rope.yarn is None:
        return 1.0 / wavelengths
    low, high = rope.yarn.ramp(rotary_dim=rope.rotary_dim, theta=rope.theta)
    index = torch.arange(rope.rotary_dim // 2, dtype=torch.float32)
    kept = 1 - ((index - low) / (high - low)).clamp(0, 1)
    return 1.0 / (rope.yarn.factor * wavelengths) * (1 - kept) + 1.0 / wavelengths * kept


def rotary_cos_sin(rope: RopeSpec, frequency: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine, [B,T,R/2] each, for ``positions`` [3,B,T] (time, height, width).

    Each of ``frequency`` [R/2] follows one of the three axes (interleaved mRoPE), so one gather
    picks its position and one product makes its angle. Done once per step, for all layers.
    """
    axis = torch.tensor(rope.axis_of_frequency(), dtype=torch.int64, device=positions.device)
    angle = positions.index_select(0, axis).permute(1, 2, 0).float() * frequency
    cos, sin = angle.cos(), angle.sin()
    if rope.attention_scaling != 1.0:
        return cos * rope.attention_scaling, sin * rope.attention_scaling
    return cos, sin
