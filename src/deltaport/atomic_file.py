"""A file that appears whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = ["replacing"]


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """A file beside ``path`` to write to, which takes its place when the block ends.

    If the block fails, as on a full disk, what was there before stays as it was. ``private``:
    nobody else may read it. Raises ``OSError`` where the folder takes no file.
    """
    handle, name = tempfile.mkstemp(
        prefix=f".{path.name[:40]}.", suffix=".partial", dir=path.absolute().parent
    )
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        if not private:  # as the temporary file is
            umask = os.umask(0)
            os.umask(umask)
            partial.chmod(0o666 & ~umask)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
