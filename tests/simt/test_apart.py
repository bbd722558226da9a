"""Threads that see nothing of each other before a phase is over, in any kernel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.kernels import delta_rule_cases, moe_cases, test_causal_conv1d, test_quantized_moe
from tests.kernels.test_shared_expert_moe import make_case as make_shared_case
from tests.oracles import Array
from tests.simt import delta_rule_runner
from tests.simt import test_causal_conv1d as convolution
from tests.simt.fake_gpu import FakeKernels
from tests.simt.mixture import run_mixture
from tests.simt.test_tile import tile_product
from tools.gpu_kernels.kernel_library import KernelLibrary

Run = Callable[[KernelLibrary], tuple[Array, ...]]


def convolve(kernels: KernelLibrary) -> tuple[Array, ...]:
    case = test_causal_conv1d.make_case(1, T=70, C=130, lengths=[70, 3])
    return convolution.run(kernels, case)


def delta_rule(kernel: delta_rule_runner.Kernel, T: int) -> Run:
    rule = delta_rule_cases.make_case(2, T=T, dims=(128, 90), heads=(1, 1))
    case = delta_rule_cases.with_norm(rule, 2)
    return lambda kernels: delta_rule_runner.run(kernels, kernel, case)


def mixture(T: int) -> Run:
    case = make_shared_case(3, T=T, experts=6, dims=(150, 40), lengths=[T, T - 1], shared_width=20)
    return lambda kernels: (run_mixture(kernels, case, 2, inner=40, shared=20),)


def mixture_of_codes(kernels: KernelLibrary) -> tuple[Array, ...]:
    case = test_quantized_moe.make_case(4, T=3, dims=(96, 64))
    return (run_mixture(kernels, case, 2, inner=64),)


def ties(kernels: KernelLibrary) -> tuple[Array, ...]:
    case = moe_cases.make_case(5, T=3, experts=200)
    case["router_logits"][0, 1, 5::32] = 9.0
    return (run_mixture(kernels, case, 6, inner=case["down"].shape[2]),)


def multiply(kernels: KernelLibrary) -> tuple[Array, ...]:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((32, 16), (16, 24)))
    return (tile_product(kernels, a, b, np.zeros((32, 24), np.float32)),)


RUNS: dict[str, Run] = {
    "convolution": convolve,
    "delta rule in steps": delta_rule("steps", 2),
    "delta rule in chunks": delta_rule("chunks", 34),
    "mixture, few pairs of an expert": mixture(2),
    "mixture, many": mixture(30),
    "mixture of codes": mixture_of_codes,
    "mixture, ties": ties,
    "tiles": multiply,
}


@pytest.mark.emulation
@pytest.mark.parametrize("name", RUNS)
def test_threads_do_not_see_each_other_within_a_phase(kernels: FakeKernels, name: str) -> None:
    expected = RUNS[name](kernels)
    with kernels.apart():
        found = RUNS[name](kernels)
    for one, other in zip(found, expected, strict=True):
        assert one.tobytes() == other.tobytes()
