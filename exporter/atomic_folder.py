"""A folder that appears whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from deltaport.errors import OutputError
from deltaport.strict_json import quote

__all__ = ["AtomicFolder"]

# What flock says on a file system without locks.
NO_LOCKS = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL}


class AtomicFolder:
    """Build a folder in a temporary sibling, then rename it into place.

    Use as a context manager: fill ``path``, then call :meth:`commit`. Leaving without a commit,
    by whatever exception, leaves everything as it was found.

    From entry to exit the writer holds a lock, which dies with its process. So whoever holds it
    is alone, and what lies under the names of the siblings was left by a writer that was killed:
    it is removed, but for a half-made folder that its writer can go on with.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        *,
        objection: Callable[[Path], str | None] | None = None,
        resumable: str | None = None,
    ) -> None:
        """``objection`` says what speaks against replacing a folder that is in the way.

        Without it no folder is replaced, except for an empty one. ``resumable`` is the name of a
        file that makes a half-made folder worth keeping, of a writer that was killed: then ``path``
        is not empty, and stays as it is until :meth:`take_over`.
        """
        self.shown = os.fspath(target)
        # Not Path.resolve, which raises RuntimeError for a link to itself, before Python 3.13.
        self.target = Path(os.path.realpath(target))
        self._objection = objection
        self._resumable = resumable
        self.path = self.target.parent / f".{self.target.name}.partial"
        self._replaced = self.target.parent / f".{self.target.name}.replaced"
        self._lock_path = self.target.parent / f".{self.target.name}.lock"
        self._lock: int | None = None
        self._made_parents: list[Path] = []

    def __enter__(self) -> Self:
        try:
            self._take_lock()
            self._settle()
            self._check_target()
            self.path.mkdir(exist_ok=True)
        except BaseException as error:  # __exit__ is not called for what __enter__ leaves behind
            self._leave()
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
        self._leave()
        # A closed pipe is about whoever watches, and a library that cannot be loaded has no number.
        if (
            isinstance(error, OSError)
            and error.errno is not None
            and not isinstance(error, BrokenPipeError)
        ):
            raise self._output_error(error) from error

    def take_over(self) -> None:
        """From here on what a killed writer has left is this one's, and goes if it fails."""
        self._resumable = None

    def commit(self) -> None:
        """Put the finished folder in place; the old one, if any, goes when the context is left."""
        try:
            _sync(self.path)
            if self.target.exists():
                self._check_target()
                # Until the second rename the old engine is still whole, under another name.
                self.target.rename(self._replaced)
            self.path.rename(self.target)
        except OSError as error:
            raise self._output_error(error) from None
        with suppress(OSError):  # The new engine is in place: nothing may report otherwise.
            _sync(self.target.parent)

    def _take_lock(self) -> None:
        for attempts_left in reversed(range(1000)):
            try:
                self._make_parents()
                self._lock = _lock(self._lock_path)
                return
            except BlockingIOError:
                raise OutputError(
                    f"{self.shown}: another export is writing this folder; wait for it, or "
                    "choose another output"
                ) from None
            except FileNotFoundError:  # another writer, on its way out, removed file or folder
                if not attempts_left:
                    raise

    def _make_parents(self) -> None:
        there = next(filter(os.path.lexists, self.target.parents), self.target)
        if not stat.S_ISDIR(there.stat().st_mode):
            given = next(filter(os.path.lexists, Path(self.shown).parents), there)
            raise OutputError(
                f"{there if given.is_dir() else given}: exists and is not a folder; choose "
                "another output"
            )
        missing = [folder for folder in self.target.parents if not os.path.lexists(folder)]
        for folder in reversed(missing):
            with suppress(FileExistsError):  # made by another writer: theirs to remove
                folder.mkdir()
                self._made_parents.append(folder)

    def _settle(self) -> None:
        """Put back an old engine that nothing has replaced; remove all else. Needs the lock.

        A half-made folder stays that can be gone on with and was not taken over.

        What to do is read off the disk alone, so that it does not matter where the writer, be it
        this one or one that was killed, was interrupted.
        """
        with suppress(FileNotFoundError):
            try:
                self._replaced.rename(self.target)  # refused if the target has anything in it
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                # Under this name nobody will ever take what rmtree left for a whole engine.
                _remove(self.path)
                self._replaced.rename(self.path)
                _remove(self.path)
        if not self._can_be_gone_on_with():
            _remove(self.path)

    def _can_be_gone_on_with(self) -> bool:
        return (
            self._resumable is not None
            and not self.path.is_symlink()
            and (self.path / self._resumable).is_file()
        )

    def _leave(self) -> None:
        """Settle as far as possible, then let the next writer in."""
        try:
            if self._lock is not None:
                with suppress(OSError):
                    self._settle()
        finally:
            if self._lock is not None:
                with suppress(OSError):
                    self._lock_path.unlink()
                os.close(self._lock)
                self._lock = None
            with suppress(OSError):  # not empty: there is an engine, or another writer
                while self._made_parents:
                    self._made_parents.pop().rmdir()

    def check_target(self) -> None:
        """Raise ``OutputError`` if what is there now may not be replaced; writes nothing."""
        try:
            self._check_target()
        except OSError as error:
            raise self._output_error(error) from None

    def _check_target(self) -> None:
        if not os.path.lexists(self.target):
            return
        if not self.target.is_dir():
            raise OutputError(f"{self.shown}: exists and is not a folder; choose another output")
        entries = any(self.target.iterdir())
        if self.target.samefile(os.curdir):  # what "" means, too
            raise OutputError(
                f"{self.shown or quote('')}: is the current folder, which the engine would "
                "replace; choose another output"
            )
        if entries and self._objection is None:
            raise OutputError(
                f"{self.shown}: already exists; choose another output or pass --overwrite"
            )
        if entries and self._objection and (objection := self._objection(self.target)):
            raise OutputError(
                f"{self.shown}: {objection}, so it is not overwritten; choose another output"
            )

    def _output_error(self, error: OSError) -> OutputError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "; free some space or choose another output" if full else ""
        return OutputError(
            f"{self.shown}: cannot write the engine: {error.strerror or error}{remedy}"
        )


def _lock(path: Path) -> int:
    """Create and lock a file, or raise ``FileNotFoundError`` if it was removed meanwhile."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        created = True
    except FileExistsError:
        descriptor = os.open(path, flags)
        created = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The last holder removes the file: a lock on what it removed would keep nobody out.
        if not os.path.samestat(os.fstat(descriptor), path.lstat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    except BaseException as error:
        os.close(descriptor)
        if created and isinstance(error, OSError) and error.errno in NO_LOCKS:
            path.unlink(missing_ok=True)
        raise
    return descriptor


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif os.path.lexists(folder):
        shutil.rmtree(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
