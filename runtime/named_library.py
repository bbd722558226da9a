"""Libraries that an environment variable names, in place of the installed ones."""

from __future__ import annotations

import os
from pathlib import Path

from deltaport.errors import EngineError

__all__ = ["named_library"]


def named_library(variable: str) -> Path | None:
    """The library that ``variable`` names, None where it is not set.

    Raises ``EngineError`` where there is no such file.
    """
    given = os.environ.get(variable)
    if given is None:
        return None
    if not Path(given).is_file():
        raise EngineError(f"{variable} is {given!r}, expected a library; unset it")
    return Path(given)
