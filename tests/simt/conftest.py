"""The kernels for GPUs compiled for where they are to run, once for all tests."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes  # noqa: F401 NumPy knows bfloat16 by it
import pytest

from tests.gpu import PLACES, Place
from tests.gpu.kernels import gpu_kernels
from tests.simt.fake_gpu import fake_kernels
from tools.gpu_kernels.kernel_library import KernelLibrary


@pytest.fixture(scope="session", params=PLACES)
def kernels(request: pytest.FixtureRequest, compiled: Path) -> KernelLibrary:
    if Place(request.param) is Place.HOST:
        return fake_kernels(compiled)
    return gpu_kernels(compiled)
