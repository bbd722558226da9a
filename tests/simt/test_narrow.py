"""Floats to two bytes: as NumPy and ml_dtypes do it, for every kind of float there is."""

from __future__ import annotations

import numpy as np
import pytest

from tools.gpu_kernels.arguments import Rounding
from tools.gpu_kernels.kernel_library import KernelLibrary


def floats() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """All exponents and signs with fractions on, beside and between what two bytes can hold."""
    rng = np.random.default_rng(0)
    upper = np.arange(2**16, dtype=np.uint32) << 16
    lower = [0, 1, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xFFFF]
    bits = np.concatenate([upper | np.uint32(value) for value in lower])
    random = rng.integers(0, 2**32, 10**6, dtype=np.uint32)
    return np.concatenate([bits, random]).view(np.float32)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_rounds_as_numpy_does(kernels: KernelLibrary, dtype: str) -> None:
    x = floats()
    found = np.zeros(x.size, np.uint16)
    with kernels.lend() as memory:
        source, to = memory.reads(x), memory.writes(found)
        kernels.run(f"narrow_{dtype}", Rounding(source=source, to=to, count=x.size))
    stored = np.dtype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = x.astype(stored)
    numbers = ~np.isnan(x)
    assert (found[numbers] == expected.view(np.uint16)[numbers]).all()
    assert np.isnan(found.view(stored)[~numbers].astype(np.float32)).all()
