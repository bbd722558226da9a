"""A folder that appears whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from deltaport.errors import OutputError
from deltaport.package import MANIFEST_NAME

__all__ = ["AtomicFolder"]

LOCK_NAME = ".lock"


class AtomicFolder:
    """Build a folder in a temporary sibling, then rename it into place.

    Use as a context manager: fill ``path``, then call :meth:`commit`. Leaving without a commit,
    by whatever exception, removes the sibling. A sibling whose writer was killed is recognised by
    its lock, which dies with the process, and removed by the next writer of the same folder.
    """

    def __init__(self, target: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        # Not Path.resolve, which raises RuntimeError for a link to itself, before Python 3.13.
        self.target = Path(os.path.realpath(target))
        self.overwrite = overwrite
        self.path = self.target.parent / f".{self.target.name}.{os.getpid()}.partial"
        self._replaced = self.target.parent / f".{self.target.name}.replaced"
        self._lock: int | None = None
        self._made = False

    def __enter__(self) -> Self:
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self._clear_dead_siblings()
            self._check_target()
            self.path.mkdir()
            self._made = True
            self._lock = os.open(self.path / LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:  # __exit__ is not called for what __enter__ leaves behind
            self._discard()
            if isinstance(error, OSError):
                raise self._output_error(error) from None
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._discard()
        # A closed pipe is about whoever watches, not about the folder.
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise self._output_error(error) from error

    def check(self) -> None:
        """Raise ``OutputError`` if the target is in the way, before any work is done."""
        try:
            self._check_target()
            there = next(filter(os.path.lexists, self.target.parents), self.target)
            if not there.is_dir():
                raise OutputError(f"{there}: exists and is not a folder; choose another output")
            self.path.lstat()  # fails for a name that is too long
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._output_error(error) from None

    def commit(self) -> None:
        """Put the finished folder in place, replacing the old one only now."""
        try:
            _sync(self.path)
            if self.target.exists():
                self._check_target()
                # Until the second rename the old engine is still whole, under another name.
                self.target.rename(self._replaced)
            self.path.rename(self.target)
            # Only now: without its lock the sibling would pass for a dead one.
            (self.target / LOCK_NAME).unlink()
            _sync(self.target.parent)
        except BaseException as error:  # Ctrl-C between the two renames, too
            self._restore()
            if isinstance(error, OSError):
                raise self._output_error(error) from None
            raise
        shutil.rmtree(self._replaced, ignore_errors=True)

    def _discard(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._made:
            shutil.rmtree(self.path, ignore_errors=True)

    def _check_target(self) -> None:
        if not os.path.lexists(self.target):
            return
        if not self.target.is_dir():
            raise OutputError(f"{self.target}: exists and is not a folder; choose another output")
        entries = [entry.name for entry in self.target.iterdir()]
        if entries and not self.overwrite:
            raise OutputError(
                f"{self.target}: already exists; choose another output or pass --overwrite"
            )
        if entries and MANIFEST_NAME not in entries:
            raise OutputError(
                f"{self.target}: is not an engine folder, so it is not overwritten; choose "
                "another output"
            )

    def _clear_dead_siblings(self) -> None:
        self._restore()
        for sibling in self.target.parent.glob(f".{_escaped(self.target.name)}.*.partial"):
            if _is_dead(sibling):
                shutil.rmtree(sibling)

    def _restore(self) -> None:
        """Undo a replacement that was cut between its two renames."""
        if not self._replaced.exists():
            return
        if self.target.exists():
            shutil.rmtree(self._replaced)
        else:
            self._replaced.rename(self.target)

    def _output_error(self, error: OSError) -> OutputError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "; free some space or choose another output" if full else ""
        return OutputError(
            f"{self.target}: cannot write the engine: {error.strerror or error}{remedy}"
        )


def _is_dead(sibling: Path) -> bool:
    """Whether nobody holds the sibling's lock (or it died before taking one)."""
    try:
        lock = os.open(sibling / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _escaped(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
