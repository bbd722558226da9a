"""Where the ONNX Runtime library is that the native runtime loads."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from deltaport.errors import EngineError
from deltaport.runtime.named_library import named_library

__all__ = ["ONNXRUNTIME_VARIABLE", "onnxruntime_library"]

ONNXRUNTIME_VARIABLE = "DELTAPORT_ONNXRUNTIME"
"""The environment variable that names another library than that of the onnxruntime package."""
_PATTERNS = ("libonnxruntime.so*", "libonnxruntime*.dylib", "onnxruntime.dll")


def onnxruntime_library() -> Path:
    """The library of the installed onnxruntime, or the one named; ``EngineError`` without any.

    The package is found, not imported: its own Python module would load all of it a second time.
    """
    if (named := named_library(ONNXRUNTIME_VARIABLE)) is not None:
        return named
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        raise EngineError("onnxruntime is not installed; pip install onnxruntime")
    for place in spec.submodule_search_locations:
        for pattern in _PATTERNS:
            if found := sorted((Path(place) / "capi").glob(pattern)):
                return found[0]
    raise EngineError(
        f"{spec.origin}: this onnxruntime has no library to load; reinstall it, or set "
        f"{ONNXRUNTIME_VARIABLE} to one"
    )
