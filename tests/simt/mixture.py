"""Runs a mixture of experts of :mod:`custom_ops.simt` on the host."""

from __future__ import annotations

import ctypes

import ml_dtypes
import numpy as np

from tests.kernels.op_runner import assert_same_bits
from tests.oracles import Array

__all__ = ["Arguments", "run_mixture"]

Case = dict[str, Array]
_TYPES = {np.dtype(t): i for i, t in enumerate((np.float32, np.float16, ml_dtypes.bfloat16))}
_GUARD = 64
"""Bytes behind the workspace that nobody may write."""


class Weights(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("type", ctypes.c_int)]


class QuantizedWeights(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("codes", "scales")),
        ("bits", ctypes.c_int),
        ("has_offsets", ctypes.c_bool),
        *((name, ctypes.c_int64) for name in ("groups", "block_groups")),
    ]


class StoredMatrices(ctypes.Structure):
    _fields_ = [("elements", Weights), ("codes", QuantizedWeights)]


class Arguments(ctypes.Structure):
    """``MoEArgs``."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "tokens", "hidden", "experts")),
        *((name, ctypes.c_int64) for name in ("inner", "top_k", "shared_inner")),
        *((name, Weights) for name in ("x", "router_logits")),
        ("lengths", ctypes.c_void_p),
        *((name, StoredMatrices) for name in ("gate_up", "down")),
        ("shared_gate", Weights),
        *((name, StoredMatrices) for name in ("shared_gate_up", "shared_down")),
        ("y", ctypes.c_void_p),
    ]


def run_mixture(
    kernels: ctypes.CDLL,
    case: Case,
    top_k: int,
    *,
    inner: int,
    shared: int = 0,
    dtype: str = "float32",
) -> Array:
    """``y``; ``x`` is stored as ``dtype``, ``y`` is and is widened again.

    It is the same whichever thread and whichever block of threads comes first.
    """
    case = {name: np.ascontiguousarray(array) for name, array in case.items()}
    case["x"] = case["x"].astype(dtype)
    y, again = (np.full_like(case["x"], np.nan) for _ in range(2))
    for into, backwards in ((y, False), (again, True)):
        _run(kernels, _arguments(case, top_k, inner, shared, into), backwards)
    y, again = y.astype(np.float32), again.astype(np.float32)
    assert_same_bits(again, y)
    return y


def _run(kernels: ctypes.CDLL, arguments: Arguments, backwards: bool) -> None:
    size = kernels.sparse_moe_workspace
    size.restype = ctypes.c_int64
    workspace = np.full(size(ctypes.byref(arguments)) + _GUARD, 0xFF, np.uint8)
    pointer = ctypes.c_void_p(workspace.ctypes.data)
    run = kernels.sparse_moe
    run.restype = ctypes.c_bool
    assert run(ctypes.byref(arguments), pointer, ctypes.c_bool(backwards))
    assert (workspace[-_GUARD:] == 0xFF).all()


def _arguments(case: Case, top_k: int, inner: int, shared: int, y: Array) -> Arguments:
    rows, tokens, hidden = case["x"].shape
    arguments = Arguments(
        rows=rows,
        tokens=tokens,
        hidden=hidden,
        experts=case["router_logits"].shape[2],
        inner=inner,
        top_k=top_k,
        shared_inner=shared,
        lengths=case["lengths"].ctypes.data,
        y=y.ctypes.data,
    )
    for name in ("x", "router_logits", *(("shared_gate",) if shared else ())):
        setattr(arguments, name, _elements(case[name]))
    matrices = ("gate_up", "down", *(("shared_gate_up", "shared_down") if shared else ()))
    for name in matrices:
        setattr(arguments, name, _stored(case[name], case.get(f"{name}_scales")))
    return arguments


def _elements(array: Array) -> Weights:
    return Weights(data=array.ctypes.data, type=_TYPES[array.dtype])


def _stored(array: Array, scales: Array | None) -> StoredMatrices:
    if scales is None:
        return StoredMatrices(elements=_elements(array))
    groups, bits = array.shape[-3:-1]
    blocks, numbers = scales.shape[-3:-1]
    codes = QuantizedWeights(
        codes=array.ctypes.data,
        scales=scales.ctypes.data,
        bits=bits,
        has_offsets=numbers == 2,
        groups=groups,
        block_groups=groups // blocks,
    )
    return StoredMatrices(codes=codes)
