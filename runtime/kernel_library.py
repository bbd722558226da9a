"""Where the native kernels are."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

from deltaport.errors import EngineError
from deltaport.runtime.named_library import named_library

__all__ = [
    "ISA_VARIABLE",
    "KERNELS_VARIABLE",
    "kernel_library",
    "supported_isas",
]

KERNELS_VARIABLE = "DELTAPORT_KERNELS"
"""The environment variable that names another library than the installed one."""
ISA_VARIABLE = "DELTAPORT_ISA"
"""The environment variable that chooses the instruction set, read as a session is made."""


def kernel_library() -> Path:
    """The library with the kernels, installed or named; raises ``EngineError`` without one."""
    if (named := named_library(KERNELS_VARIABLE)) is not None:
        return named
    # Found as a module is, so that editable installs work; it is not one and is never imported.
    spec = importlib.util.find_spec("deltaport.custom_ops.ort_kernels")
    if spec is None or spec.origin is None:
        raise EngineError(
            "the native kernels are not installed; reinstall deltaport where a C++ compiler is, "
            f"or set {KERNELS_VARIABLE} to the library"
        )
    return Path(spec.origin)


def supported_isas() -> tuple[str, ...]:
    """The instruction sets this machine has kernels for, best first."""
    library = ctypes.CDLL(str(kernel_library()))
    library.deltaport_supported_isas.restype = ctypes.c_char_p
    names: bytes = library.deltaport_supported_isas()
    return tuple(names.decode().split(","))
