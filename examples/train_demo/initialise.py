"""Weights to start from."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["initialise"]

_ADDS_TO_THE_RESIDUAL = ("o_proj.weight", "out_proj.weight", "down_proj", "down_proj.weight")
_MEMORIES = (3, 12)
"""Powers of two: how many tokens the first and the last head of a layer remember."""


@torch.no_grad()
def initialise(model: nn.Module) -> None:
    """Normal weights, but nothing is added to the residual stream at first.

    So the embeddings, which are the larger for it, are not drowned by what layers make of them
    before they have learnt anything. Decays begin as memories from short to long, which hardly
    depend on the token yet: it is the long ones that find what was there before.
    """
    for name, parameter in model.named_parameters():
        if name.endswith("A_log") or name.endswith(_ADDS_TO_THE_RESIDUAL):
            parameter.zero_()
        elif name.endswith("dt_bias"):
            rate = torch.logspace(*(-power for power in _MEMORIES), len(parameter), base=2)
            parameter.copy_(torch.log(torch.expm1(rate)))  # inverse of softplus
        elif name.endswith("conv1d.weight"):
            parameter.uniform_(-0.5, 0.5)
        elif parameter.ndim > 1:
            parameter.normal_(0, _deviation(name, parameter.shape[-1]))


def _deviation(name: str, inputs: int) -> float:
    if "embed_tokens" in name:
        return 0.3
    scale = 0.1 if name.endswith("in_proj_a.weight") else 1.0
    return float(scale * inputs**-0.5)
