"""Emitting ONNX nodes while torch traces, and the standard ops we want to stay whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from deltaport.custom_ops.definitions import DOMAIN, DOMAIN_VERSION, OpDefinition

__all__ = ["emit", "gemm_transposed", "rms_norm", "valid_tokens"]

Shape = Sequence[int | torch.SymInt]


def emit(
    op: OpDefinition,
    inputs: Sequence[Tensor],
    output_shapes: Sequence[Shape],
    **attributes: int | float,
) -> tuple[Tensor, ...]:
    """Emit one ``op`` node with float32 outputs of the given shapes.

    Only call it while exporting: outside, ``torch.onnx.ops.symbolic`` silently returns zeros.
    """
    if not torch.compiler.is_exporting():
        raise RuntimeError(f"{op.name} node emitted outside torch.export")
    outputs = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{op.name}",
        list(inputs),
        dict(attributes),
        dtypes=[torch.float32] * len(output_shapes),
        shapes=list(output_shapes),
        version=DOMAIN_VERSION,
    )
    return tuple(outputs)


def valid_tokens(lengths: Tensor, n_tokens: int) -> Tensor:
    """Which tokens are real: bool [B,T] from ``lengths`` [B]."""
    return torch.arange(n_tokens, device=lengths.device) < lengths[:, None]


def rms_norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    """``x / rms(x) * scale`` over the last axis; ONNX ``RMSNormalization``."""
    if torch.compiler.is_exporting():
        node: Tensor = torch.onnx.ops.symbolic(
            "RMSNormalization",
            (x, scale),
            {"axis": -1, "epsilon": eps},
            dtype=x.dtype,
            shape=x.shape,
        )
        return node
    return F.rms_norm(x, (x.shape[-1],), scale, eps)


def gemm_transposed(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T`` for x [M,K], weight [N,K], as one ONNX ``Gemm``.

    Keeps a weight that is also an embedding table in one layout for both uses.
    """
    if torch.compiler.is_exporting():
        node: Tensor = torch.onnx.ops.symbolic(
            "Gemm",
            (x, weight),
            {"transB": 1},
            dtype=x.dtype,
            shape=(x.shape[0], weight.shape[0]),
        )
        return node
    return F.linear(x, weight)
