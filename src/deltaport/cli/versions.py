"""Versions of what decides how an engine looks and runs."""

from __future__ import annotations

import platform
from importlib import metadata

from deltaport import __version__
from deltaport.custom_op_version import OP_LIBRARY_VERSION
from deltaport.package import SCHEMA_VERSION

__all__ = ["versions"]

_COMPANIONS = ("onnxruntime", "tokenizers", "numpy", "jinja2", "onnx", "torch", "transformers")


def versions() -> dict[str, str | None]:
    """Version by name, deltaport's first; None for what is not installed."""
    return {
        "deltaport": __version__,
        "engine schema": str(SCHEMA_VERSION),
        "op library": str(OP_LIBRARY_VERSION),
        **{name: _installed(name) for name in _COMPANIONS},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)  # reads a text file: importing torch takes seconds
    except metadata.PackageNotFoundError:
        return None
