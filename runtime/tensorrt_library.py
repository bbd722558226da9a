"""Where TensorRT's library and ours for it are, that the native runtime loads."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from deltaport.errors import EngineError
from deltaport.package import Plan
from deltaport.runtime.named_library import named_library

__all__ = [
    "PLUGINS_VARIABLE",
    "TENSORRT_VARIABLE",
    "installed_plugins",
    "plugin_library",
    "tensorrt_library",
]

TENSORRT_VARIABLE = "DELTAPORT_TENSORRT"
"""The environment variable that names TensorRT's library."""
PLUGINS_VARIABLE = "DELTAPORT_TENSORRT_PLUGINS"
"""The environment variable that names ``libdeltaport_tensorrt.so``."""

_PACKAGES = {"TensorRT-RTX": "tensorrt_rtx_libs", "TensorRT": "tensorrt_libs"}
_PATTERNS = {"TensorRT-RTX": "libtensorrt_rtx.so.{}", "TensorRT": "libnvinfer.so.{}"}


def tensorrt_library(plan: Plan | None) -> str:
    """The library of what built ``plan``, by its path where a package has it.

    Empty where none has: it may be among the libraries of the system. Raises ``EngineError`` where
    the variable names none.
    """
    if (named := named_library(TENSORRT_VARIABLE)) is not None:
        return str(named)
    flavour, _, version = ("", "", "") if plan is None else plan.builder.partition(" ")
    spec = importlib.util.find_spec(_PACKAGES[flavour]) if flavour in _PACKAGES else None
    for place in () if spec is None else spec.submodule_search_locations or ():
        library = Path(place) / _PATTERNS[flavour].format(version.partition(".")[0])
        if library.is_file():
            return str(library)
    return ""


def plugin_library() -> Path:
    """``libdeltaport_tensorrt.so``, installed or named; raises ``EngineError`` without one."""
    if (found := installed_plugins()) is not None:
        return found
    raise EngineError(
        "engines for TensorRT need libdeltaport_tensorrt.so, which this deltaport was installed "
        f"without; set {PLUGINS_VARIABLE} to it (docs/tensorrt.md tells how it is built)"
    )


def installed_plugins() -> Path | None:
    """The same, or None."""
    if (named := named_library(PLUGINS_VARIABLE)) is not None:
        return named
    # Found as a module is, so that editable installs work; it is not one and is never imported.
    spec = importlib.util.find_spec("deltaport.custom_ops.libdeltaport_tensorrt")
    return None if spec is None or spec.origin is None else Path(spec.origin)
