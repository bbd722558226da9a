"""Reading small files that are untrusted, as those of an engine folder are."""

from __future__ import annotations

import os
from pathlib import Path

from deltaport.errors import EngineError

__all__ = ["COPY_AGAIN", "read_bounded"]

COPY_AGAIN = "copy the checkpoint's file again"


def read_bounded(
    path: Path, limit: int, *, too_large: str, remedy: str = COPY_AGAIN
) -> bytes | None:
    """The contents of a regular file of at most ``limit`` bytes; None if there is no such name.

    Raises ``EngineError`` for anything else: ``too_large`` ends the sentence about its size,
    ``remedy`` the one about its kind.
    """
    try:
        if not path.is_file():
            if os.path.lexists(path):  # reading a pipe or a device may never end
                raise EngineError(f"{path}: not a regular file; {remedy}")
            return None
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise EngineError(f"{path}: {error.strerror}") from None
    if len(data) > limit:
        raise EngineError(f"{path}: larger than {limit >> 20} MiB{too_large}")
    return data
