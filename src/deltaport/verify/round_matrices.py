"""Rounding a loaded model's weights as an export rounds them."""

from __future__ import annotations

import torch
from torch import nn

from deltaport.exporter.model_size import stored_as_float32

__all__ = ["round_matrices"]

_PIECE = 1 << 24
"""Elements rounded at a time, so that there is no second copy of a table of embeddings."""


@torch.no_grad()
def round_matrices(model: nn.Module, dtype: str) -> None:
    """Round, in place, every float32 parameter that an engine stores as ``dtype``.

    An oracle that computes with the engine's own weights is held to float32's bounds: what rounding
    them costs is no fault of the engine, and hides none.
    """
    for name, parameter in model.named_parameters():
        if not stored_as_float32(name, tuple(parameter.shape)):
            for piece in torch.split(parameter.view(-1), _PIECE):
                piece.copy_(piece.to(getattr(torch, dtype)))
