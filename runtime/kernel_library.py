"""Where the native kernels are, and how an ONNX Runtime session gets them."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from pathlib import Path

import onnxruntime

from deltaport.errors import EngineError

__all__ = [
    "ISA_VARIABLE",
    "KERNELS_VARIABLE",
    "kernel_library",
    "register_kernels",
    "supported_isas",
]

KERNELS_VARIABLE = "DELTAPORT_KERNELS"
"""The environment variable that names another library than the installed one."""
ISA_VARIABLE = "DELTAPORT_ISA"
"""The environment variable that chooses the instruction set, read as a session is made."""


def kernel_library() -> Path:
    """The library with the kernels, installed or named; raises ``EngineError`` without one."""
    given = os.environ.get(KERNELS_VARIABLE)
    if given is not None:
        if not Path(given).is_file():
            raise EngineError(f"{KERNELS_VARIABLE} is {given!r}, expected a library; unset it")
        return Path(given)
    # Found as a module is, so that editable installs work; it is not one and is never imported.
    spec = importlib.util.find_spec("deltaport.custom_ops.ort_kernels")
    if spec is None or spec.origin is None:
        raise EngineError(
            "the native kernels are not installed; reinstall deltaport where a C++ compiler is, "
            f"or set {KERNELS_VARIABLE} to the library"
        )
    return Path(spec.origin)


def register_kernels(options: onnxruntime.SessionOptions) -> None:
    """Let sessions made with ``options`` run the custom ops by their native kernels.

    They run the best instruction set of the machine, or the one ``DELTAPORT_ISA`` names.
    """
    library = kernel_library()
    try:
        options.register_custom_ops_library(str(library))
    except Exception as error:
        raise EngineError(f"{library}: cannot be loaded: {error}") from error


def supported_isas() -> tuple[str, ...]:
    """The instruction sets this machine has kernels for, best first."""
    library = ctypes.CDLL(str(kernel_library()))
    library.deltaport_supported_isas.restype = ctypes.c_char_p
    names: bytes = library.deltaport_supported_isas()
    return tuple(names.decode().split(","))
