"""Where the headers of TensorRT are. They are NVIDIA's, so none are in this repository."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

__all__ = ["REQUIRED", "missing", "tensorrt_root"]

HEADER = "NvInferRuntime.h"
REQUIRED = "DELTAPORT_REQUIRE_TENSORRT"
"""Where this variable is 1, what TensorRT's tests need has to be there."""
HOW_TO_GET_THEM = (
    f"there is no {HEADER} of TensorRT 10 or newer: set TENSORRT_ROOT to where TensorRT is "
    "unpacked, or 'pip install --no-deps kernel-lens', which brings headers to develop with"
)


def missing(reason: str) -> None:
    """Skip the test, or fail it where nothing may be missing."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def tensorrt_root() -> Path:
    """The folder that has the headers, or has them in its include folder."""
    root = os.environ.get("TENSORRT_ROOT") or _kernel_lens()
    if root is None or not _holds_headers(Path(root)):
        missing(HOW_TO_GET_THEM)
    return Path(str(root))


def include_folder(root: Path) -> Path:
    return next(folder for folder in _folders(root) if (folder / HEADER).is_file())


def _holds_headers(root: Path) -> bool:
    return any((folder / HEADER).is_file() for folder in _folders(root))


def _folders(root: Path) -> tuple[Path, ...]:
    """As CMake looks for them: the root, its include folder, and the folders packages have."""
    machine = f"{os.uname().machine}-linux-gnu"
    include = root / "include"
    return root, include, include / machine, include / "tensorrt"


def _kernel_lens() -> Path | None:
    try:
        installed = files("kernel-lens") or []
    except PackageNotFoundError:
        return None
    return next((Path(str(f.locate())).parent for f in installed if f.name == HEADER), None)
