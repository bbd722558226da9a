"""Where the headers of TensorRT are. They are NVIDIA's, so none are in this repository."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = [
    "HEADER",
    "REQUIRED",
    "find_headers",
    "header_version",
    "include_folder",
    "missing",
    "tensorrt_root",
]

HEADER = "NvInferRuntime.h"
REQUIRED = "DELTAPORT_REQUIRE_TENSORRT"
"""Where this variable is 1, what TensorRT's tests need has to be there."""
HOW_TO_GET_THEM = (
    f"there is no {HEADER} of TensorRT 10 or newer: set TENSORRT_ROOT to where TensorRT is "
    "unpacked, or 'pip install --no-deps kernel-lens', which brings headers to develop with"
)


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where nothing may be missing."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def tensorrt_root() -> Path:
    """The folder that has the headers, or has them in its include folder."""
    return find_headers() or missing(HOW_TO_GET_THEM)


def find_headers() -> Path | None:
    """The same, or None."""
    given = os.environ.get("TENSORRT_ROOT")
    if given:
        assert _folder(Path(given)), f"TENSORRT_ROOT is {given}, where there is no {HEADER}"
        return Path(given)
    return _kernel_lens()


def include_folder() -> Path:
    folder = _folder(tensorrt_root())
    assert folder is not None
    return folder


def header_version(folder: Path) -> tuple[int, int]:
    """Which TensorRT the headers in ``folder`` are of."""
    text = (folder / "NvInferVersion.h").read_text(encoding="utf-8", errors="replace")
    major, minor = (
        re.search(rf"#define (?:TRT|NV_TENSORRT)_{part}\w* +(\d+)", text)
        for part in ("MAJOR", "MINOR")
    )
    assert major, f"{folder}: no version in NvInferVersion.h"
    assert minor, f"{folder}: no version in NvInferVersion.h"
    return int(major[1]), int(minor[1])


def _folder(root: Path) -> Path | None:
    """As CMake looks for them: the root, its include folder, and the folders packages have."""
    include = root / "include"
    machine = include / f"{os.uname().machine}-linux-gnu"
    folders = (root, include, machine, include / "tensorrt")
    return next((folder for folder in folders if (folder / HEADER).is_file()), None)


def _kernel_lens() -> Path | None:
    try:
        installed = files("kernel-lens") or []
    except PackageNotFoundError:
        return None
    return next((Path(str(f.locate())).parent for f in installed if f.name == HEADER), None)
