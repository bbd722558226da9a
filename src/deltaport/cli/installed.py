"""Packages that only some commands need, and that the runtime does without."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from deltaport.errors import InputError

__all__ = ["check_installed"]


def check_installed(packages: Iterable[str], *, doing: str, extra: str) -> None:
    """``InputError`` for ``packages``, by the names they are imported by, that are not there."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise InputError(
            f"{doing} needs {', '.join(missing)}, not installed here; install with: "
            f"pip install 'deltaport[{extra}]', in a clone: pip install '.[{extra}]'"
        )
