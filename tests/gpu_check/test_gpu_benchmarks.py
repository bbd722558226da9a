"""Benchmarks of GPU kernels on a GPU that is not there: that they run, and what they count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.gpu_kernel_cases import GpuCase, LayerShape, gpu_cases
from benchmarks.gpu_kernels import CROSSING, crossing, measure
from benchmarks.gpu_memory import GpuMemory, gpu_memory
from benchmarks.gpu_mixture import MixtureShape, chosen
from benchmarks.report import Row

from tests.simt.fake_gpu import FakeKernels, fake_kernels
from tools.gpu_kernels.arguments import Mixture

SMALL = LayerShape(
    key_heads=1,
    value_heads=2,
    head_dim=16,
    mixture=MixtureShape(hidden=128, experts=8, top_k=2, inner=128, shared_inner=128),
)
MEASURED = (
    "delta rule, decode of 8",
    "delta rule, prefill of 512",
    "delta rule, 9 tokens: chunks against steps",
    "convolution, decode of 1",
    "convolution, prefill of 512",
    "mixture in bfloat16, decode of 8",
    "mixture in int8, decode of 1",
    "mixture in int4, decode of 8",
)


@pytest.fixture(scope="module")
def kernels(compiled: Path) -> FakeKernels:
    return fake_kernels(compiled)


def case_of(name: str, shape: LayerShape) -> GpuCase:
    (case,) = (case for case in gpu_cases(shape) if case.name == name)
    return case


@pytest.mark.parametrize("name", MEASURED)
def test_a_case_is_measured(kernels: FakeKernels, name: str) -> None:
    case = case_of(name, SMALL)
    row = measure(kernels, case, rounds=1, copied_bytes=1 << 12, turn_seconds=1e-6)
    assert row.case == name
    assert row.ours > 0
    assert row.limit_share is not None
    assert row.limit_share > 0
    assert (row.peer is not None) == (row.ratio is not None) == ("against" in name)


@pytest.mark.parametrize("name", MEASURED)
def test_its_numbers_are_numbers(kernels: FakeKernels, name: str) -> None:
    """What was made up for it does not overflow: GPUs may be quicker with what is no number."""
    case = case_of(name, SMALL)
    with gpu_memory(kernels.device) as memory:
        (call,) = case.calls(memory, 1)
        arguments: Any = call.arguments
        is_mixture = isinstance(arguments, Mixture)
        workspace = (memory.empty(kernels.workspace(arguments)),) if is_mixture else ()
        kernels.run(case.kernel, arguments, *workspace)
        address = arguments.o if hasattr(arguments, "o") else arguments.y
        output = kernels.device.download(address, 2 * 64).view("bfloat16").astype(np.float32)
    assert np.isfinite(output).all()
    assert output.any()


class NoMemory(GpuMemory):
    """Makes tokens that choose experts, and nothing else."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def empty(self, size: int) -> int:
        return 256

    def of(self, array: Any) -> int:
        return 256

    def floats(self, count: int, dtype: Any = None, scale: float = 1.0) -> int:
        return 256

    def codes(self, count: int) -> int:
        return 256


EXPERT = 3 * 2048 * 512  # weights
TOKEN = 2 * (2 * 2048 + 256)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("delta rule, decode of 8", 8 * (2 * 4 * 32 * 128 * 128 + 2 * (8192 + 2 * 4096 + 64))),
        ("convolution, decode of 1", 2 * (2 * 3 * 8192 + 2 * 8192 + 4 * 8192)),
        ("mixture in bfloat16, decode of 1", 9 * 2 * EXPERT + TOKEN),
        ("mixture in int8, decode of 1", 9 * EXPERT * (1 + 2 / 128) + TOKEN),
        ("mixture in int4, decode of 1", 9 * EXPERT * (1 / 2 + 2 / 128) + TOKEN),
    ],
)
def test_bytes_of_a_35b_a3b(name: str, expected: float) -> None:
    (call,) = case_of(name, LayerShape()).calls(NoMemory(), 1)
    assert call.bytes == expected


def test_experts_that_tokens_share_are_read_once() -> None:
    logits = np.array([[3.0, 2.0, 1.0, 0.0], [3.0, 0.0, 2.0, 1.0]])
    assert chosen(logits, 1) == 1
    assert chosen(logits, 2) == 3


def against(*ratios: tuple[int, float]) -> Iterator[Row]:
    for tokens, ratio in ratios:
        yield Row(f"delta rule, {tokens} tokens: chunks against steps", 1.0, ratio, ratio)


def test_from_where_chunks_are_faster() -> None:
    other = Row("mixture in int4, decode of 1", 1.0)
    rows = [*against((1, 0.5), (8, 1.1), (9, 0.9), (12, 1.2), (64, 3.0)), other]
    assert crossing(rows) == Row(CROSSING, 12)
    assert crossing(list(against((1, 1.5), (8, 1.1)))) == Row(CROSSING, 1)
    assert crossing(list(against((64, 0.9)))) is None
    assert crossing([other]) is None


def test_without_a_gpu_it_ends_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import gpu_kernels, gpu_plans

    from tools.gpu_kernels.find_gpu import NoGpuError

    def no_gpu() -> None:
        raise NoGpuError("no GPU: x")

    for module in (gpu_kernels, gpu_plans):
        monkeypatch.setattr(module, "find_gpu", no_gpu)
        monkeypatch.setattr("sys.argv", ["x", "--json", str(tmp_path / "x.json")])
        assert module.main() == 2
    assert not (tmp_path / "x.json").exists()
