"""Where the native kernels are, and how an ONNX Runtime session gets them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import onnxruntime

from deltaport.errors import DeltaportError

__all__ = ["KERNELS_VARIABLE", "kernel_library", "register_kernels"]

KERNELS_VARIABLE = "DELTAPORT_KERNELS"
"""The environment variable that names another library than the installed one."""


def kernel_library() -> Path:
    """The library with the kernels, installed or named; raises ``DeltaportError`` without one."""
    given = os.environ.get(KERNELS_VARIABLE)
    if given is not None:
        if not Path(given).is_file():
            raise DeltaportError(f"{KERNELS_VARIABLE} is {given!r}, expected a library; unset it")
        return Path(given)
    # Found as a module is, so that editable installs work; it is not one and is never imported.
    spec = importlib.util.find_spec("deltaport.custom_ops.ort_kernels")
    if spec is None or spec.origin is None:
        raise DeltaportError(
            "the native kernels are not installed; reinstall deltaport where a C++ compiler is, "
            f"or set {KERNELS_VARIABLE} to the library"
        )
    return Path(spec.origin)


def register_kernels(options: onnxruntime.SessionOptions) -> None:
    """Let sessions made with ``options`` run the custom ops by their native kernels.

    ``DELTAPORT_ISA`` (avx512, avx2 or portable) chooses the instruction set as a session is made.
    """
    library = kernel_library()
    try:
        options.register_custom_ops_library(str(library))
    except Exception as error:
        raise DeltaportError(f"{library}: cannot be loaded: {error}") from error
