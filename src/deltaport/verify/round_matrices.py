"""Rounding a loaded model's weights as an export rounds them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from deltaport.exporter.model_size import stored_as_float32
from deltaport.graph_passes.quantize.code_layout import matrix_of_tiles
from deltaport.graph_passes.quantize.fp8_rows import fp8_codes, fp8_scales
from deltaport.graph_passes.quantize.quantize_rows import quantize_rows
from deltaport.verify.matrix_rounding import MatrixRounding
from deltaport.weight_format import TILE_ROWS, WeightFormat
from deltaport.weight_roles import role_of

__all__ = ["round_matrices"]

_PIECE = 1 << 24
"""Elements rounded at a time, so that there is no second copy of a table of embeddings."""


@torch.no_grad()
def round_matrices(model: nn.Module, rounding: MatrixRounding) -> list[Tensor]:
    """Round, in place, every float32 parameter that an engine stores otherwise.

    An oracle that computes with the engine's own weights is held to narrow bounds: what rounding
    them costs is no fault of the engine, and hides none. It makes them of the checkpoint, not of
    the engine's file, so that a weight in the wrong place is found. Returns those that are
    quantized.
    """
    quantized: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if stored_as_float32(name, tuple(parameter.shape)):
            continue
        if rounding.dtype is not None:
            for piece in torch.split(parameter.view(-1), _PIECE):
                piece.copy_(piece.to(getattr(torch, rounding.dtype)))
        format_ = _format(name, rounding)
        if format_ is not None:
            for matrix in parameter.view(-1, *parameter.shape[-2:]):
                _quantize(matrix, format_)
            quantized.append(parameter)
    return quantized


def _format(name: str, rounding: MatrixRounding) -> WeightFormat | None:
    """The format of a parameter, which may be one of a model with a vision tower."""
    try:
        return rounding.formats.get(role_of(name.replace("model.language_model.", "model.")))
    except KeyError:  # of the tower
        return None


def _quantize(matrix: Tensor, format_: WeightFormat) -> None:
    """Make ``matrix`` [rows,inputs] what its codes and scales stand for."""
    rows, inputs = matrix.shape
    step = max(1, _PIECE // (TILE_ROWS * inputs)) * TILE_ROWS
    for start in range(0, rows, step):
        piece = matrix[start : start + step]
        if format_.floating:
            scales = fp8_scales(piece.numpy())
            values = fp8_codes(piece.numpy(), scales).astype(np.float32) * scales[:, np.newaxis]
        else:
            values = matrix_of_tiles(*quantize_rows(piece.numpy(), format_))
        piece.copy_(torch.from_numpy(values[: len(piece), :inputs]))
