"""What is slow to make, by whichever process of a session of tests wants it first."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

__all__ = ["made_once"]


def made_once(to: Path, make: Callable[[Path], object]) -> Path:
    """The file ``to``, which is made where it is not there while others who want it wait.

    ``make`` gets the path to write to. What fails to make it leaves nothing for others to find.
    """
    with to.with_name(f"{to.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not to.exists():
            new = to.with_name(f"{to.name}.new")
            make(new)
            new.replace(to)
    return to
