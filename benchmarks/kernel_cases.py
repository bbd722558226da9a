"""What ``benchmarks.kernels`` measures: each op at the size of a real layer.

``flops`` and ``bytes`` are what the op cannot do without: multiplications and additions, and what
must come from memory where it does not fit a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from benchmarks.one_op import Array
from deltaport.custom_ops.definitions import (
    CAUSAL_CONV1D,
    GATED_ATTENTION,
    GATED_DELTA_RULE_NORM,
    LINEAR,
    SPARSE_MOE,
    OpDefinition,
)

__all__ = ["KernelCase", "kernel_cases"]


@dataclass(frozen=True)
class KernelCase:
    """One measurement; ``make`` draws the inputs, of which ``weights`` are stored in the model."""

    name: str
    op: OpDefinition
    make: Callable[[np.random.Generator], dict[str, Array]]
    flops: float
    bytes: float
    attributes: Mapping[str, Any] = field(default_factory=dict)
    weights: frozenset[str] = frozenset()
    states: Mapping[str, str] = field(default_factory=dict)


def kernel_cases() -> Iterator[KernelCase]:
    """All cases."""
    for T in (512, 1):
        yield _delta_rule(T)
    for T in (512, 1):
        yield _convolution(T)
    for T in (1, 16, 512):
        yield _mixture(T)
    for T, past in ((1, 4096), (512, 3584)):
        yield _attention(T, past)
    for dtype in (np.float32, ml_dtypes.bfloat16):
        for T in (1, 512):
            yield _linear(T, np.dtype(dtype))


def _normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    return rng.standard_normal(shape, np.float32) * np.float32(scale)


def _phase(T: int) -> str:
    return "decode" if T == 1 else f"prefill T={T}"


def _delta_rule(T: int, Hk: int = 16, Hv: int = 32, D: int = 128) -> KernelCase:
    def make(rng: np.random.Generator) -> dict[str, Array]:
        return {
            "qkv": _normal(rng, 1, T, (2 * Hk + Hv) * D),
            "z": _normal(rng, 1, T, Hv * D),
            "a": _normal(rng, 1, T, Hv),
            "b": _normal(rng, 1, T, Hv),
            "A_log": np.log(rng.uniform(1, 16, Hv)).astype(np.float32),
            "dt_bias": _normal(rng, Hv),
            "norm": np.ones(D, np.float32),
            "state": _normal(rng, 1, Hv, D, D, scale=0.1),
            "lengths": np.array([T]),
        }

    return KernelCase(
        f"delta-rule {_phase(T)}",
        GATED_DELTA_RULE_NORM,
        make,
        flops=6.0 * D * D * Hv * T,
        bytes=4.0 * (2 * Hv * D * D + T * (2 * Hk + 3 * Hv) * D),
        weights=frozenset({"A_log", "dt_bias", "norm"}),
        states={"new_state": "state"},
    )


def _convolution(T: int, C: int = 8192, K: int = 4) -> KernelCase:
    def make(rng: np.random.Generator) -> dict[str, Array]:
        return {
            "x": _normal(rng, 1, T, C),
            "weight": _normal(rng, C, K, scale=0.5),
            "state": _normal(rng, 1, K - 1, C),
            "lengths": np.array([T]),
        }

    return KernelCase(
        f"convolution {_phase(T)}",
        CAUSAL_CONV1D,
        make,
        flops=2.0 * K * C * T,
        bytes=4.0 * C * (2 * T + K + 2 * (K - 1)),
        weights=frozenset({"weight"}),
        states={"new_state": "state"},
    )


def _mixture(T: int, E: int = 64, top_k: int = 8, H: int = 1024, width: int = 256) -> KernelCase:
    def make(rng: np.random.Generator) -> dict[str, Array]:
        return {
            "x": _normal(rng, 1, T, H),
            "router_logits": _normal(rng, 1, T, E),
            "gate_up": _normal(rng, E, 2 * width, H, scale=H**-0.5),
            "down": _normal(rng, E, H, width, scale=width**-0.5),
            "lengths": np.array([T]),
        }

    used = E * (1 - (1 - top_k / E) ** T)
    return KernelCase(
        f"mixture T={T}",
        SPARSE_MOE,
        make,
        flops=6.0 * H * width * top_k * T,
        bytes=4.0 * (3 * H * width * used + 2 * T * H),
        attributes={"top_k": top_k},
        weights=frozenset({"gate_up", "down"}),
    )


def _attention(T: int, past: int, Hq: int = 16, Hkv: int = 2, D: int = 256) -> KernelCase:
    def make(rng: np.random.Generator) -> dict[str, Array]:
        angles = np.arange(past, past + T)[:, None] * 1e4 ** -np.linspace(0, 1, 32)
        return {
            "q_gate": _normal(rng, 1, T, Hq * 2 * D),
            "k": _normal(rng, 1, T, Hkv * D),
            "v": _normal(rng, 1, T, Hkv * D),
            "q_norm": np.ones(D, np.float32),
            "k_norm": np.ones(D, np.float32),
            "cos": np.cos(angles)[None].astype(np.float32),
            "sin": np.sin(angles)[None].astype(np.float32),
            "past_key": _normal(rng, 1, Hkv, past + T, D),
            "past_value": _normal(rng, 1, Hkv, past + T, D),
            "lengths": np.array([T]),
            "past_lengths": np.array([past]),
        }

    return KernelCase(
        f"attention {_phase(T)} of {past + T}",
        GATED_ATTENTION,
        make,
        flops=4.0 * Hq * D * T * (past + T / 2),
        bytes=4.0 * 2 * Hkv * D * (past + T),
        attributes={"scale": D**-0.5},
        weights=frozenset({"q_norm", "k_norm"}),
        states={"present_key": "past_key", "present_value": "past_value"},
    )


def _linear(T: int, dtype: np.dtype[Any], inputs: int = 2048, outputs: int = 8192) -> KernelCase:
    def make(rng: np.random.Generator) -> dict[str, Array]:
        weight = _normal(rng, outputs, inputs, scale=inputs**-0.5).astype(dtype)
        return {"x": _normal(rng, 1, T, inputs), "weight": weight}

    return KernelCase(
        f"linear {dtype.name} T={T}",
        LINEAR,
        make,
        flops=2.0 * inputs * outputs * T,
        bytes=float(dtype.itemsize * inputs * outputs),
        weights=frozenset({"weight"}),
    )
