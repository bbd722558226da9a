"""The kernels for GPUs compiled for where they are to run, once for all tests."""

from __future__ import annotations

import ml_dtypes  # noqa: F401 NumPy knows bfloat16 by it
import pytest

from tests.gpu import PLACES, Place, require_gpu
from tests.simt.fake_gpu import fake_kernels
from tools.gpu_kernels.driver import Device, Driver
from tools.gpu_kernels.kernel_library import KernelLibrary, build_for_gpu


@pytest.fixture(scope="session", params=PLACES)
def kernels(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> KernelLibrary:
    folder, place = tmp_path_factory.mktemp("simt"), Place(request.param)
    if place is Place.HOST:
        return fake_kernels(folder)
    capability = require_gpu().capability
    return KernelLibrary(build_for_gpu(folder / "kernels.so", capability), Device(Driver()))
