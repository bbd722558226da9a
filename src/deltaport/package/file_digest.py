"""The checksum of an engine's file, which all cores can compute together."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deltaport.threads import available_threads

__all__ = ["PIECE_BYTES", "FileDigest", "file_digest"]

PIECE_BYTES = 16 << 20
_READ_BYTES = 1 << 20


class FileDigest:
    """The checksum of a file, whose bytes come one after the other.

    Of at most ``PIECE_BYTES`` it is the SHA-256; of more, the SHA-256 of the digests, 32 bytes
    each, of pieces of ``PIECE_BYTES``, of which the last may be shorter. One
    SHA-256 of it all would run at one to two gigabytes a second, on one core of any machine.
    """

    def __init__(self) -> None:
        self._pieces = _PieceDigests()
        self._piece = hashlib.sha256()
        self._left = PIECE_BYTES  # bytes that the piece still takes

    def update(self, data: bytes | memoryview) -> None:
        """Add the file's next bytes."""
        view = memoryview(data).cast("B")
        while view:
            if self._left == 0:
                self._pieces.add(self._piece.digest())
                self._piece = hashlib.sha256()
                self._left = PIECE_BYTES
            part, view = view[: self._left], view[self._left :]
            self._piece.update(part)
            self._left -= len(part)

    def hexdigest(self) -> str:
        """The checksum of what was added so far."""
        pieces = self._pieces.copy()
        pieces.add(self._piece.digest())
        return pieces.hexdigest()


def file_digest(path: Path) -> str:
    """What :class:`FileDigest` makes of a file, read by all cores.

    Raises ``OSError``, which names the file.
    """
    size = path.stat().st_size
    pieces = _PieceDigests()
    if size <= PIECE_BYTES:
        pieces.add(_piece_digest(path, 0))
        return pieces.hexdigest()
    threads = available_threads()
    pool = ThreadPoolExecutor(threads)
    begun: deque[Callable[[], bytes]] = deque()  # few: a file may claim to be of any size
    try:
        for at in range(0, size, PIECE_BYTES):
            if len(begun) > 2 * threads:
                pieces.add(begun.popleft()())
            begun.append(_begin(pool, path, at))
        for result in begun:
            pieces.add(result())
    finally:  # after an error or Ctrl-C, not when all the rest is read
        pool.shutdown(cancel_futures=True)
    return pieces.hexdigest()


def _begin(pool: ThreadPoolExecutor, path: Path, at: int) -> Callable[[], bytes]:
    """What waits for the digest of a piece."""
    try:
        return pool.submit(_piece_digest, path, at).result
    except RuntimeError:  # no more threads to be had
        digest = _piece_digest(path, at)
        return lambda: digest


def _piece_digest(path: Path, at: int) -> bytes:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_READ_BYTES))
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(at)
            left = PIECE_BYTES
            while left and (count := file.readinto(buffer[:left])):
                digest.update(buffer[:count])
                left -= count
    except OSError as error:
        error.filename = str(path)  # which those of reading lack
        raise
    return digest.digest()


class _PieceDigests:
    """The digests of a file's pieces, in order, as one checksum."""

    def __init__(self) -> None:
        self._count = 0
        self._last = b""
        self._all = hashlib.sha256()

    def copy(self) -> _PieceDigests:
        other = _PieceDigests()
        other._count, other._last, other._all = self._count, self._last, self._all.copy()
        return other

    def add(self, digest: bytes) -> None:
        self._count += 1
        self._last = digest
        self._all.update(digest)

    def hexdigest(self) -> str:
        return self._last.hex() if self._count == 1 else self._all.hexdigest()
