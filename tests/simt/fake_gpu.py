"""A GPU that is not there: its driver, and the kernels' library compiled for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import IntEnum
from pathlib import Path

from tests.end_to_end.cpp_programs import succeed
from tools.gpu_kernels.driver import Device, Driver
from tools.gpu_kernels.kernel_library import INCLUDES, SOURCES, KernelLibrary

__all__ = ["FakeKernels", "compile_for_host", "fake_driver", "fake_kernels"]

_FAKES = Path(__file__).with_name("fake_cuda")


def compile_for_host(to: Path, *sources: Path, options: tuple[str, ...] = ()) -> Path:
    """A shared library of C++ and CUDA, with the fakes in place of CUDA's own."""
    compiler = os.environ.get("CXX", "c++")
    flags = ("-std=c++20", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-shared", "-fPIC")
    includes = (f"-I{_FAKES}", *INCLUDES)
    succeed(compiler, *flags, *includes, "-x", "c++", *sources, "-x", "none", *options, "-o", to)
    return to


def fake_driver(folder: Path) -> Path:
    """CUDA's driver library, of a GPU with memory and nothing to compute."""
    return compile_for_host(folder / "fake_gpu.so", _FAKES / "fake_gpu.cc", options=("-O1",))


class Turns(IntEnum):
    """``FakeGpuTurns``."""

    FORWARDS, BACKWARDS, APART = range(3)


class FakeKernels(KernelLibrary):
    """Kernels whose blocks, threads and lanes take turns."""

    def last_first(self) -> AbstractContextManager[None]:
        return self._taking(Turns.BACKWARDS)

    def apart(self) -> AbstractContextManager[None]:
        """Within, threads do not see what others write to shared memory in the same phase.

        Two that write the same place are a ``CudaError``.
        """
        return self._taking(Turns.APART)

    @contextmanager
    def _taking(self, turns: Turns) -> Iterator[None]:
        driver = self.device.driver.library
        before = driver.fake_gpu_turns()
        driver.fake_gpu_take(turns)
        try:
            yield
        finally:
            driver.fake_gpu_take(before)


def fake_kernels(folder: Path) -> FakeKernels:
    driver = fake_driver(folder)
    isa = ("-DDELTAPORT_ISA=cuda", "-DDELTAPORT_SIMT=")
    options = ("-O2", *isa, str(driver))
    library = compile_for_host(folder / "kernels.so", *SOURCES, options=options)
    return FakeKernels(library, Device(Driver(str(driver))))
