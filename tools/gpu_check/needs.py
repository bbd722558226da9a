"""What checks need beside a GPU. Each function says in words what is missing, or None."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from importlib import metadata

import pytest

__all__ = [
    "FOR_PLUGINS",
    "TENSORRT",
    "Need",
    "first_missing",
    "misfit",
    "nvcc",
    "onnxruntime_cuda",
    "plan_library",
    "tensorrt",
    "version_of",
]

TENSORRT = ("tensorrt_rtx", "tensorrt")
"""Modules of TensorRT, of which deltaport takes the first that is there."""

Need = Callable[[], str | None]


def first_missing(needs: Iterable[Need]) -> str | None:
    """What the first need says that is not there. One that cannot even look is not there."""
    return next((reason for need in needs if (reason := _missing(need)) is not None), None)


def _missing(need: Need) -> str | None:
    try:
        return need()
    except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
        said = str(error).strip().split("\n", 1)[0]
        return said or type(error).__name__


def nvcc() -> str | None:
    """The compiler of CUDA."""
    return None if shutil.which("nvcc") else "no nvcc, the compiler of CUDA 13"


def cmake() -> str | None:
    """CMake."""
    return None if shutil.which("cmake") else "no CMake"


def tensorrt_headers() -> str | None:
    """What plugins are compiled with."""
    from tests.tensorrt.headers import HEADER, find_headers

    return None if find_headers() else f"no {HEADER} of TensorRT"


FOR_PLUGINS = (nvcc, cmake, tensorrt_headers)
"""What compiles them."""


def tensorrt() -> str | None:
    """TensorRT or TensorRT-RTX, of any version."""
    return None if version_of(*TENSORRT) else "no TensorRT"


def plan_library() -> str | None:
    """Our library for the TensorRT that is installed, or what it is compiled with."""
    from deltaport.runtime.tensorrt_library import installed_plugins
    from tests.tensorrt.headers import header_version, include_folder

    if installed_plugins() is not None:
        return None
    for need in FOR_PLUGINS:
        if (reason := need()) is not None:
            return reason
    return misfit(header_version(include_folder()), version_of(*TENSORRT))


def misfit(headers: tuple[int, int], installed: tuple[str, str] | None) -> str | None:
    """What is wrong with headers for a TensorRT that is installed.

    It may be a later one of the same major version.
    """
    if installed is None:
        return None
    module, version = installed
    major, minor = map(int, version.split(".")[:2])
    if headers[0] == major and headers[1] <= minor:
        return None
    return (
        f"headers of TensorRT {headers[0]}.{headers[1]} do not fit {module} {version}: "
        "TENSORRT_ROOT has to name its own"
    )


def version_of(*modules: str) -> tuple[str, str] | None:
    """The first of these modules that is installed, and the version of its package."""
    packages = metadata.packages_distributions()
    for module in modules:
        if module in packages:
            return module, metadata.version(packages[module][0])
    return None


def onnxruntime_cuda() -> str | None:
    """An onnxruntime that was built for GPUs."""
    import onnxruntime

    found = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return None if found else "onnxruntime has no CUDA provider"
