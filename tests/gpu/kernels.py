"""Our kernels compiled for the GPU of this machine."""

from __future__ import annotations

from pathlib import Path

from tests.gpu import require_gpu
from tests.made_once import made_once
from tools.gpu_kernels.driver import Device, Driver
from tools.gpu_kernels.kernel_library import KernelLibrary, build_for_gpu

__all__ = ["gpu_kernels"]


def gpu_kernels(folder: Path) -> KernelLibrary:
    """The library, made once in a folder, and the GPU, without which the test fails."""
    capability = require_gpu().capability
    library = made_once(folder / "gpu_kernels.so", lambda to: build_for_gpu(to, capability))
    return KernelLibrary(library, Device(Driver()))
