"""A GPU that is not there: its driver, and the kernels' library compiled for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import IntEnum
from pathlib import Path

from tests.end_to_end.cpp_programs import succeed
from tests.made_once import made_once
from tools.gpu_kernels.driver import Device, Driver
from tools.gpu_kernels.kernel_library import INCLUDES, SOURCES, KernelLibrary

__all__ = [
    "FakeKernels",
    "compile_for_host",
    "compile_kernels",
    "fake_driver",
    "fake_kernels",
]

_FAKES = Path(__file__).with_name("fake_cuda")


def compile_for_host(to: Path, *sources: Path, options: tuple[str, ...] = ()) -> Path:
    """A shared library of C++ and CUDA, with the fakes in place of CUDA's own."""
    compiler = os.environ.get("CXX", "c++")
    flags = ("-std=c++20", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-shared", "-fPIC")
    includes = (f"-I{_FAKES}", *INCLUDES)
    succeed(compiler, *flags, *includes, "-x", "c++", *sources, "-x", "none", *options, "-o", to)
    return to


def fake_driver(folder: Path) -> Path:
    """CUDA's driver library, of a GPU with memory and nothing to compute, made once in a folder."""
    return made_once(
        folder / "fake_gpu.so",
        lambda to: compile_for_host(to, _FAKES / "fake_gpu.cc", options=("-O1",)),
    )


class Turns(IntEnum):
    """``FakeGpuTurns``."""

    FORWARDS, BACKWARDS, APART = range(3)


class FakeKernels(KernelLibrary):
    """Kernels whose blocks, threads and lanes take turns."""

    def last_first(self) -> AbstractContextManager[None]:
        return self._taking(Turns.BACKWARDS)

    def apart(self) -> AbstractContextManager[None]:
        """Within, threads do not see what others write to shared memory in the same phase.

        Two that change the same byte are a ``CudaError``; writing what was there changes nothing.
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
    """All of our kernels, made once in a folder."""
    return compile_kernels(folder / "kernels.so", *SOURCES)


def compile_kernels(to: Path, *sources: Path) -> FakeKernels:
    """Kernels, and the functions that launch them, for the fake driver in the same folder."""
    driver = fake_driver(to.parent)
    isa = ("-DDELTAPORT_ISA=cuda", "-DDELTAPORT_SIMT=")
    options = ("-O2", *isa, str(driver))
    made_once(to, lambda new: compile_for_host(new, *sources, options=options))
    return FakeKernels(to, Device(Driver(str(driver))))
