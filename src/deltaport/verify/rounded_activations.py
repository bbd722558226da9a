"""Rounding activations as an engine rounds what it multiplies with quantized weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from deltaport.weight_format import GROUP_INPUTS

__all__ = ["RoundedActivations"]

_LARGEST_CODE = 127
_SMALLEST = 1e-30
"""A group of activations that are all smaller than this is one of zeros."""


class RoundedActivations(TorchFunctionMode):
    """While it is entered, products with ``weights`` read activations as codes of 8 bits hold them.

    Weights are known by the memory they are in, so that an expert is found that is a part of a
    parameter, and a head that is an embedding table.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self._memory = {weight.untyped_storage().data_ptr() for weight in weights}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Round the first argument of a product whose second is one of the weights."""
        if func in (F.linear, torch.matmul) and len(args) > 1 and self._has(args[1]):
            args = (_rounded(args[0]), *args[1:])
        return func(*args, **(kwargs or {}))

    def _has(self, weight: Tensor) -> bool:
        return weight.untyped_storage().data_ptr() in self._memory


def _rounded(x: Tensor) -> Tensor:
    """``x`` [..,K] by groups of 32: codes of -127 to 127, times 1/127 of the largest magnitude.

    A group that holds a NaN or an infinity is one of NaN.
    """
    width = x.shape[-1]
    padded = F.pad(x, (0, -width % GROUP_INPUTS))
    groups = padded.reshape(*x.shape[:-1], -1, GROUP_INPUTS)
    most = groups.abs().amax(-1, keepdim=True)
    codes = torch.round(groups * (_LARGEST_CODE / most))  # of ties, the even one
    values = torch.where(most < _SMALLEST, torch.zeros(()), codes * (most / _LARGEST_CODE))
    return values.flatten(-2)[..., :width]
