"""The library of plugins as users build it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.end_to_end.cpp_programs import ROOT, succeed
from tests.tensorrt.headers import missing, tensorrt_root

__all__ = ["PLUGINS_VARIABLE", "build_cuda_library"]

PLUGINS_VARIABLE = "DELTAPORT_TENSORRT_PLUGINS"


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
