"""The structures that kernels are launched with, as their headers have them."""

from __future__ import annotations

import ctypes
from typing import Any

import ml_dtypes
import numpy as np

__all__ = [
    "ELEMENT_TYPES",
    "Convolution",
    "DeltaRule",
    "Mixture",
    "Mma",
    "Rounding",
    "StoredMatrices",
    "TileProduct",
    "Weights",
]

ELEMENT_TYPES = {
    np.dtype(each): i for i, each in enumerate((np.float32, np.float16, ml_dtypes.bfloat16))
}
"""``ElementType`` of what is stored so."""


def _numbers(*names: str) -> list[tuple[str, Any]]:
    return [(name, ctypes.c_int64) for name in names]


def _pointers(*names: str) -> list[tuple[str, Any]]:
    return [(name, ctypes.c_void_p) for name in names]


class Convolution(ctypes.Structure):
    """``ConvArgs`` of any element."""

    _fields_ = [
        *_numbers("rows", "tokens", "channels", "taps"),
        *_pointers("x", "weight", "state", "lengths", "y", "new_state"),
    ]


class DeltaRule(ctypes.Structure):
    """``DeltaRuleArgs`` of any element."""

    _fields_ = [
        *_numbers("rows", "tokens", "key_heads", "value_heads", "key_dim", "value_dim"),
        *_pointers("qkv", "a", "b", "A_log", "dt_bias", "state", "lengths"),
        ("norm_eps", ctypes.c_float),
        *_pointers("z", "norm"),
        ("output_norm_eps", ctypes.c_float),
        *_pointers("o", "new_state"),
    ]


class Weights(ctypes.Structure):
    """``Weights``."""

    _fields_ = [("data", ctypes.c_void_p), ("type", ctypes.c_int)]


class _QuantizedWeights(ctypes.Structure):
    _fields_ = [
        *_pointers("codes", "scales"),
        ("bits", ctypes.c_int),
        ("has_offsets", ctypes.c_bool),
        *_numbers("groups", "block_groups"),
    ]


class StoredMatrices(ctypes.Structure):
    """``StoredMatrices``: elements, or codes."""

    _fields_ = [("elements", Weights), ("codes", _QuantizedWeights)]

    @classmethod
    def of_codes(
        cls, codes: int, scales: int, code_shape: tuple[int, ...], scale_shape: tuple[int, ...]
    ) -> StoredMatrices:
        """At these addresses: ``[..., groups, bits, 64]`` and ``[..., blocks, 1 or 2, 16]``."""
        (groups, bits), (blocks, numbers) = code_shape[-3:-1], scale_shape[-3:-1]
        return cls(
            codes=_QuantizedWeights(
                codes=codes,
                scales=scales,
                bits=bits,
                has_offsets=numbers == 2,
                groups=groups,
                block_groups=groups // blocks,
            )
        )


class Mixture(ctypes.Structure):
    """``MoEArgs``."""

    _fields_ = [
        *_numbers("rows", "tokens", "hidden", "experts", "inner", "top_k", "shared_inner"),
        *((name, Weights) for name in ("x", "router_logits")),
        ("lengths", ctypes.c_void_p),
        *((name, StoredMatrices) for name in ("gate_up", "down")),
        ("shared_gate", Weights),
        *((name, StoredMatrices) for name in ("shared_gate_up", "shared_down")),
        ("y", ctypes.c_void_p),
    ]


class TileProduct(ctypes.Structure):
    """``TileProductArgs``."""

    _fields_ = [*_pointers("left", "right", "sum"), *_numbers("rows", "columns", "depth")]


class Mma(ctypes.Structure):
    """``MmaArgs``."""

    _fields_ = _pointers("c", "a", "b")


class Rounding(ctypes.Structure):
    """``RoundArgs`` to any type."""

    _fields_ = [*_pointers("source", "to"), *_numbers("count")]
