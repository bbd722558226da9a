"""Building blocks every layer uses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deltaport.custom_ops.torch_bindings import rms_norm

__all__ = ["Linear", "ZeroCentredRMSNorm"]


class Linear(nn.Module):
    """``x @ weight.T + bias``; the weight [N,K] may be stored narrower than it is computed with.

    Transposing the stored parameter first (not its cast) lets a pass fold the transpose into the
    weight's recipe.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """X [...,K] -> [...,N]."""
        y = torch.matmul(x, self.weight.t().to(x.dtype))
        return y if self.bias is None else y + self.bias.to(x.dtype)


class ZeroCentredRMSNorm(nn.Module):
    """RMS norm whose stored weight w means a scale of 1 + w (``Qwen3_5MoeRMSNorm``)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))
        self.eps = eps

    @property
    def scale(self) -> Tensor:
        """The factor applied, [size], float32."""
        return 1.0 + self.weight.float()

    def forward(self, x: Tensor) -> Tensor:
        """X [...,size] -> same shape."""
        return rms_norm(x, self.scale, self.eps)
