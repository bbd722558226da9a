"""TensorRT-RTX's library under the name that its parser loads it by.

For graphs with plugins the parser loads ``libtensorrt_rtx.so``, and ends the process if there is
none: packages have it as ``libtensorrt_rtx.so.1`` alone.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["link_library", "start_over_with_library"]

_NAME = "libtensorrt_rtx.so"
_FOLDER = "DELTAPORT_TENSORRT_LINK"
"""The variable that tells a program that was started over where the link is."""


def start_over_with_library() -> None:
    """Start this program over so that the loader finds the library; return when it knows it.

    To be called before anything else is done. The loader looks where the environment said at the
    start, and goes by what it has found from then on: on return the folder with the link is gone.
    Does nothing without the package.
    """
    left = os.environ.pop(_FOLDER, None)
    if left is not None:
        with suppress(OSError):  # who imports it says why it cannot be loaded
            ctypes.CDLL(_NAME)
        Path(left, _NAME).unlink()
        Path(left).rmdir()
    elif _library() is not None:
        folder = tempfile.mkdtemp(prefix="deltaport-")
        environment = os.environ | link_library(Path(folder)) | {_FOLDER: folder}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def link_library(folder: Path) -> dict[str, str]:
    """Put a link into ``folder``; returns what an environment needs for the loader to find it."""
    library = _library()
    if library is not None:
        (folder / _NAME).symlink_to(library)
    paths = filter(None, (str(folder), os.environ.get("LD_LIBRARY_PATH")))
    return {"LD_LIBRARY_PATH": os.pathsep.join(paths)}


def _library() -> Path | None:
    found = importlib.util.find_spec("tensorrt_rtx_libs")
    places = () if found is None else found.submodule_search_locations or ()
    files = (file for place in places for file in Path(place).glob(f"{_NAME}.*"))
    return next(files, None)
