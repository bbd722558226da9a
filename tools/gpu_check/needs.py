"""What checks need beside a GPU. Each function says in words what is missing, or None."""

from __future__ import annotations

import importlib.util
import shutil

__all__ = ["FOR_PLUGINS", "nvcc", "onnxruntime_cuda", "tensorrt"]


def nvcc() -> str | None:
    """The compiler of CUDA."""
    return None if shutil.which("nvcc") else "no nvcc, the compiler of CUDA 13"


def cmake() -> str | None:
    """CMake."""
    return None if shutil.which("cmake") else "no CMake"


def tensorrt() -> str | None:
    """TensorRT or TensorRT-RTX, of any version."""
    names = ("tensorrt_rtx", "tensorrt")
    return None if any(map(importlib.util.find_spec, names)) else "no TensorRT"


def tensorrt_headers() -> str | None:
    """What plugins are compiled with."""
    from tests.tensorrt.headers import HEADER, find_headers

    return None if find_headers() else f"no {HEADER} of TensorRT"


def onnxruntime_cuda() -> str | None:
    """An onnxruntime that was built for GPUs."""
    import onnxruntime

    found = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return None if found else "onnxruntime has no CUDA provider"


FOR_PLUGINS = (nvcc, cmake, tensorrt_headers)
"""What compiles them."""
