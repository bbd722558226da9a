"""The library of plugins as users build it."""

from __future__ import annotations

import shutil
from pathlib import Path

from deltaport.runtime.tensorrt_library import installed_plugins
from tests.end_to_end.cpp_programs import ROOT, succeed
from tests.tensorrt.headers import missing, tensorrt_root

__all__ = ["build_cuda_library", "plugin_library"]


def build_cuda_library(folder: Path, architecture: str) -> Path:
    """Configure and build in ``folder``, with kernels for one architecture, as in 89."""
    root = tensorrt_root()
    if shutil.which("nvcc") is None:
        missing("there is no nvcc, the compiler of CUDA 13")
    switches = ("-DDELTAPORT_PYTHON=OFF", "-DDELTAPORT_TENSORRT=ON", f"-DTENSORRT_ROOT={root}")
    architectures = f"-DCMAKE_CUDA_ARCHITECTURES={architecture}"
    succeed("cmake", "-S", ROOT, "-B", folder, *switches, architectures)
    succeed("cmake", "--build", folder, "--target", "deltaport_tensorrt")
    return folder / "custom_ops" / "tensorrt_adapter" / "libdeltaport_tensorrt.so"


def plugin_library(folder: Path, architecture: str) -> Path:
    """The library that is installed or named by the environment, or else one built so."""
    return installed_plugins() or build_cuda_library(folder, architecture)
