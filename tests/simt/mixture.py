"""Runs a mixture of experts of :mod:`custom_ops.simt`."""

from __future__ import annotations

import numpy as np

from tests.oracles import Array
from tests.simt.any_order import in_any_order
from tools.gpu_kernels.arguments import ELEMENT_TYPES, Mixture, StoredMatrices, Weights
from tools.gpu_kernels.kernel_library import KernelLibrary
from tools.gpu_kernels.lent_memory import LentMemory

__all__ = ["run_mixture"]

Case = dict[str, Array]


def run_mixture(
    kernels: KernelLibrary,
    case: Case,
    top_k: int,
    *,
    inner: int,
    shared: int = 0,
    dtype: str = "float32",
) -> Array:
    """``y``; ``x`` is stored as ``dtype``, ``y`` is and is widened again."""
    case = {name: np.ascontiguousarray(array) for name, array in case.items()}
    case["x"] = case["x"].astype(dtype)
    (y,) = in_any_order(kernels, lambda: (_run(kernels, case, top_k, inner, shared),))
    return y.astype(np.float32)


def _run(kernels: KernelLibrary, case: Case, top_k: int, inner: int, shared: int) -> Array:
    y = np.full_like(case["x"], np.nan)
    with kernels.lend() as memory:
        arguments = _arguments(memory, case, top_k, inner, shared, y)
        workspace = np.full(kernels.workspace(arguments), 0xFF, np.uint8)  # NaN
        kernels.run("sparse_moe", arguments, memory.writes(workspace))
    return y


def _arguments(
    memory: LentMemory, case: Case, top_k: int, inner: int, shared: int, y: Array
) -> Mixture:
    rows, tokens, hidden = case["x"].shape
    arguments = Mixture(
        rows=rows,
        tokens=tokens,
        hidden=hidden,
        experts=case["router_logits"].shape[2],
        inner=inner,
        top_k=top_k,
        shared_inner=shared,
        lengths=memory.reads(case["lengths"]),
        y=memory.writes(y),
    )
    for name in ("x", "router_logits", *(("shared_gate",) if shared else ())):
        setattr(arguments, name, _elements(memory, case[name]))
    matrices = ("gate_up", "down", *(("shared_gate_up", "shared_down") if shared else ()))
    for name in matrices:
        setattr(arguments, name, _stored(memory, case[name], case.get(f"{name}_scales")))
    return arguments


def _elements(memory: LentMemory, array: Array) -> Weights:
    return Weights(data=memory.reads(array), type=ELEMENT_TYPES[array.dtype])


def _stored(memory: LentMemory, array: Array, scales: Array | None) -> StoredMatrices:
    if scales is None:
        return StoredMatrices(elements=_elements(memory, array))
    addresses = memory.reads(array), memory.reads(scales)
    return StoredMatrices.of_codes(*addresses, array.shape, scales.shape)
