"""Kernels without tensor cores give the very bits that they give on the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import pytest

from tests.gpu.kernels import gpu_kernels
from tests.kernels import delta_rule_cases, moe_cases, test_causal_conv1d, test_quantized_moe
from tests.kernels.op_runner import assert_same_bits
from tests.kernels.test_shared_expert_moe import ROUTED, store
from tests.simt import delta_rule_runner
from tests.simt.fake_gpu import fake_kernels
from tests.simt.mixture import run_mixture
from tests.simt.test_causal_conv1d import run as convolve
from tools.gpu_kernels.kernel_library import KernelLibrary

Both = tuple[KernelLibrary, KernelLibrary]


@pytest.fixture(scope="module")
def both(compiled: Path) -> Both:
    """The kernels on the GPU, and on the host."""
    return gpu_kernels(compiled), fake_kernels(compiled)


@pytest.mark.parametrize("T", [1, 7, 130])
def test_convolution(both: Both, T: int) -> None:
    case = test_causal_conv1d.make_case(1, T=T, C=130, lengths=[T, T // 2])
    for found, expected in zip(*(convolve(each, case) for each in both), strict=True):
        assert_same_bits(found, expected)


@pytest.mark.parametrize("gates", delta_rule_cases.GATES)
def test_delta_rule_in_steps(both: Both, gates: str) -> None:
    make_case = delta_rule_cases.make_case
    rule = make_case(2, T=9, gates=gates, dims=(128, 128), lengths=[9, 4])
    case = delta_rule_cases.with_norm(rule, 2)
    results = (delta_rule_runner.run(each, "steps", case) for each in both)
    for found, expected in zip(*results, strict=True):
        assert_same_bits(found, expected)


@pytest.mark.parametrize("T", [2, 40])
def test_mixture(both: Both, T: int) -> None:
    case = moe_cases.make_case(3, T=T, experts=16, dims=(300, 40), lengths=[T, T // 2])
    for dtype in (None, ml_dtypes.bfloat16):
        stored = case if dtype is None else store(case, ROUTED, dtype)
        found, expected = (run_mixture(each, stored, 2, inner=40) for each in both)
        assert_same_bits(found, expected)


@pytest.mark.parametrize("bits", [4, 8])
def test_mixture_of_codes(both: Both, bits: int) -> None:
    shape: Any = {"T": 9, "dims": (300, 150), "offsets": True, "block": 64}
    case = test_quantized_moe.make_case(4, bits=bits, **shape)
    found, expected = (run_mixture(each, case, 2, inner=150) for each in both)
    assert_same_bits(found, expected)
