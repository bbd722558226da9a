"""The library of the CUDA kernels: building it, and calling what is in it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tools.gpu_kernels.arguments import Mixture
from tools.gpu_kernels.driver import CudaError, Device
from tools.gpu_kernels.lent_memory import LentMemory, lend

__all__ = ["INCLUDES", "SOURCES", "KernelLibrary", "build_for_gpu"]

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    *sorted(ROOT.glob("custom_ops/kernels/*/cuda.cu")),
    ROOT / "tools/gpu_kernels/primitives.cu",
    ROOT / "tools/gpu_kernels/entries.cc",
)
INCLUDES = (f"-I{ROOT / 'custom_ops'}", f"-I{ROOT / 'tools'}")
_NVCC = (
    *("nvcc", "-std=c++20", "-O3", "-fmad=false", "-shared", "-Xcompiler", "-fPIC"),
    *("-DDELTAPORT_ISA=cuda", "-DDELTAPORT_SIMT="),
)


def build_for_gpu(to: Path, capability: tuple[int, int]) -> Path:
    """Compile the library for GPUs of this compute capability, with nvcc.

    Raises ``FileNotFoundError`` without nvcc, ``RuntimeError`` with what it says where it fails.
    """
    if shutil.which("nvcc") is None:
        raise FileNotFoundError("there is no nvcc, the compiler of CUDA 13")
    architecture = "-arch=sm_{}{}".format(*capability)
    command = (*_NVCC, architecture, *INCLUDES, *map(str, SOURCES), "-o", str(to))
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"nvcc {architecture} ended with {done.returncode}: {done.stderr}")
    return to


class KernelLibrary:
    """Launches of kernels by name, with the structures of :mod:`tools.gpu_kernels.arguments`."""

    def __init__(self, library: Path, device: Device) -> None:
        self.device = device
        self._library = ctypes.CDLL(str(library))

    def lend(self) -> AbstractContextManager[LentMemory]:
        """Memory for the arrays of one call."""
        return lend(self.device)

    def launch(self, name: str, arguments: ctypes.Structure, *pointers: int) -> None:
        """Put a kernel, or those of a mixture, on the stream. Raises ``CudaError``."""
        function = getattr(self._library, name)
        function.restype = ctypes.c_char_p
        more = map(ctypes.c_void_p, pointers)
        wrong = function(ctypes.byref(arguments), *more, self.device.stream)
        if wrong is not None:
            raise CudaError(f"{name}: {wrong.decode()}")

    def run(self, name: str, arguments: ctypes.Structure, *pointers: int) -> None:
        """Launch, and wait for what it does. Raises ``CudaError``."""
        self.launch(name, arguments, *pointers)
        self.device.wait()

    def workspace(self, arguments: Mixture) -> int:
        """Bytes of the workspace of a mixture of these sizes, which lies on a multiple of 16."""
        size = self._library.sparse_moe_workspace
        size.restype = ctypes.c_int64
        return int(size(ctypes.byref(arguments)))

    def last_first(self) -> AbstractContextManager[None]:
        """Within, the last block, thread and lane has the first turn, where they take turns.

        On a GPU they do not, and kernels run there as ever.
        """
        return nullcontext()
