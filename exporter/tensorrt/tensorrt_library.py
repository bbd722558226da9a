"""TensorRT or TensorRT-RTX, whichever is installed: both have the same Python interface."""

from __future__ import annotations

import ctypes
import importlib
import re
from dataclasses import dataclass
from typing import Any

from deltaport.errors import InputError

__all__ = [
    "TensorRt",
    "driver_version",
    "gpu_here",
    "load_tensorrt",
    "require_driver",
    "require_fp8",
]

_FLAVOURS = {
    "tensorrt_rtx": ("TensorRT-RTX", (1, 7)),
    "tensorrt": ("TensorRT", (11, 0)),
}
"""By module: what it is called, and the first version whose parser knows the layers we use."""
_CUDA = 13
"""The CUDA that those versions are made for."""
_FP8_GPU = 89
"""The first compute capability that has fp8."""


@dataclass(frozen=True)
class TensorRt:
    """An imported module, what it is called, and its version."""

    module: Any
    flavour: str
    version: str

    @property
    def builds_for_others(self) -> bool:
        """Whether it builds for GPUs that are not there: TensorRT-RTX compiles kernels later."""
        return hasattr(self.module, "ComputeCapability")


def load_tensorrt() -> TensorRt:
    """The first of TensorRT-RTX and TensorRT that can be imported.

    Raises ``InputError`` where there is none, and for one that is too old.
    """
    for name, (flavour, oldest) in _FLAVOURS.items():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError) as error:
            raise InputError(f"{flavour} is installed and cannot be loaded: {error}") from None
        found = str(module.__version__)
        if tuple(map(int, re.findall(r"\d+", found)[:2])) < oldest:
            wanted = ".".join(map(str, oldest))
            raise InputError(f"{flavour} {found} is too old; install {wanted} or newer")
        return TensorRt(module, flavour, found)
    raise InputError(
        "building for TensorRT needs tensorrt_rtx or tensorrt, and neither is installed; "
        "pip install tensorrt-rtx-cu13"
    )


def driver_version() -> int | None:
    """The CUDA version the driver of this machine is made for, 1000 a major one; None without."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return version.value


def require_driver(tensorrt: TensorRt, version: int | None) -> None:
    """Raise ``InputError`` unless a plan can be built for the GPU of this machine."""
    remedy = "; name the GPU to build for with --gpu, as in sm89"
    if not tensorrt.builds_for_others:
        remedy = "; build where the engine is to run"
    if version is None:
        raise InputError(f"this machine has no NVIDIA GPU with a driver{remedy}")
    if version < _CUDA * 1000:
        raise InputError(
            f"the NVIDIA driver is made for CUDA {version // 1000}.{version % 1000 // 10}, "
            f"{tensorrt.flavour} {tensorrt.version} for CUDA {_CUDA}; install a newer driver"
        )


def gpu_here() -> str | None:
    """The compute capability of this machine's first GPU, as in ``sm89``; None without."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    major, minor, first = ctypes.c_int(), ctypes.c_int(), 0
    failed = driver.cuInit(0) or any(
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, first)
        for value, attribute in ((major, 75), (minor, 76))
    )
    return None if failed else f"sm{major.value}{minor.value}"


def require_fp8(gpu: str | None) -> None:
    """Raise ``InputError`` for a GPU, as in ``sm80``, without fp8."""
    if gpu is not None and int(gpu.removeprefix("sm")) < _FP8_GPU:
        raise InputError(
            f"weights in fp8 take a GPU of sm{_FP8_GPU} or newer, and the plan is for {gpu}; "
            "choose another recipe, or --gpu"
        )
