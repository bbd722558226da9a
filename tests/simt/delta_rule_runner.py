"""Runs the kernels of the gated delta rule for GPUs, and judges what comes back."""

from __future__ import annotations

from typing import Literal

import numpy as np

from deltaport.numerics import Quantity
from tests.kernels.delta_rule_cases import Case
from tests.kernels.op_runner import assert_close, assert_same_bits, is_padding
from tests.oracles import Array
from tests.oracles.gated_delta_rule import gated_delta_rule
from tests.oracles.gated_delta_rule_norm import gated_delta_rule_norm
from tests.simt.any_order import in_any_order
from tools.gpu_kernels.arguments import DeltaRule
from tools.gpu_kernels.kernel_library import KernelLibrary

__all__ = ["Kernel", "check", "check_in_place", "check_two_bytes", "run"]

Kernel = Literal["steps", "chunks"]
ACTIVATIONS = ("qkv", "a", "b", "z")
HALF_A_STEP = {"bfloat16": 2.0**-8, "float16": 2.0**-11}


def run(
    kernels: KernelLibrary,
    kernel: Kernel,
    case: Case,
    *,
    dtype: str = "float32",
    in_place: bool = False,
    norm_eps: float = 1e-6,
) -> tuple[Array, Array]:
    """``o`` and the new state; activations are stored as ``dtype``, ``o`` is widened again."""
    stored = np.dtype(dtype)
    narrow = {name: case[name].astype(stored) for name in ACTIVATIONS if name in case}
    o, state = in_any_order(
        kernels, lambda: _run(kernels, kernel, {**case, **narrow}, in_place, norm_eps)
    )
    return o.astype(np.float32), state


def _run(
    kernels: KernelLibrary, kernel: Kernel, case: Case, in_place: bool, norm_eps: float
) -> tuple[Array, Array]:
    rows, tokens, packed = case["qkv"].shape
    _, value_heads, key_dim, value_dim = case["state"].shape
    stored = case["qkv"].dtype
    o = np.full((rows, tokens, value_heads * value_dim), np.nan, stored)
    state = case["state"].copy()
    new_state = state if in_place else np.full_like(state, np.nan)
    with kernels.lend() as memory:
        inputs = {name: memory.reads(array) for name, array in (case | {"state": state}).items()}
        arguments = DeltaRule(
            rows=rows,
            tokens=tokens,
            key_heads=(packed - value_heads * value_dim) // (2 * key_dim),
            value_heads=value_heads,
            key_dim=key_dim,
            value_dim=value_dim,
            norm_eps=norm_eps,
            output_norm_eps=1e-6,
            o=memory.writes(o),
            new_state=memory.writes(new_state),
            **inputs,
        )
        kernels.run(f"gated_delta_{kernel}_{stored.name}", arguments)
    return o, new_state


def check(kernels: KernelLibrary, kernel: Kernel, case: Case, norm_eps: float = 1e-6) -> None:
    """It is what the recurrence gives in float64."""
    o, new_state = run(kernels, kernel, case, norm_eps=norm_eps)
    oracle = gated_delta_rule_norm if "z" in case else gated_delta_rule
    expected_o, expected_state = oracle(**case, norm_eps=norm_eps)
    assert_close(o, expected_o)
    assert_close(new_state, expected_state, Quantity.STATE)
    assert not o[is_padding(o.shape[1], case["lengths"])].any()


def check_in_place(kernels: KernelLibrary, kernel: Kernel, case: Case) -> None:
    """A state may be updated where it lies."""
    o, new_state = run(kernels, kernel, case)
    o_in_place, state = run(kernels, kernel, case, in_place=True)
    assert_same_bits(o_in_place, o)
    assert_same_bits(state, new_state)


def check_two_bytes(kernels: KernelLibrary, kernel: Kernel, case: Case, dtype: str) -> None:
    """Activations are read as they are and rounded when written; the state stays float32."""
    stored = np.dtype(dtype)
    narrow = {
        name: case[name].astype(stored).astype(np.float32) for name in ACTIVATIONS if name in case
    }
    exact, exact_state = run(kernels, kernel, case | narrow)
    o, new_state = run(kernels, kernel, case | narrow, dtype=dtype)
    assert_same_bits(new_state, exact_state)
    assert_same_bits(o, exact.astype(stored).astype(np.float32))
    assert np.abs(o - exact).max() <= HALF_A_STEP[dtype] * np.abs(exact).max()
