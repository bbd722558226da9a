"""The checksum of an engine's file, which all cores can compute together."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["PIECE_BYTES", "FileDigest", "file_digests"]

PIECE_BYTES = 16 << 20
_READ_BYTES = 1 << 20


class FileDigest:
    """The checksum of a file, whose bytes come one after the other.

    Of at most ``PIECE_BYTES`` it is the SHA-256; of more, the SHA-256 of the digests, 32 bytes
    each, of pieces of ``PIECE_BYTES``, of which the last may be shorter. One
    SHA-256 of it all would run at one to two gigabytes a second, on one core of any machine.
    """

    def __init__(self) -> None:
        self._pieces = b""
        self._piece = hashlib.sha256()
        self._left = PIECE_BYTES  # bytes that the piece still takes

    def update(self, data: bytes | memoryview) -> None:
        """Add the file's next bytes."""
        view = memoryview(data).cast("B")
        while view:
            if self._left == 0:
                self._pieces += self._piece.digest()
                self._piece = hashlib.sha256()
                self._left = PIECE_BYTES
            part, view = view[: self._left], view[self._left :]
            self._piece.update(part)
            self._left -= len(part)

    def hexdigest(self) -> str:
        """The checksum of what was added so far."""
        return _hex_of_pieces(self._pieces + self._piece.digest())


def file_digests(paths: Iterable[Path]) -> list[str]:
    """What :class:`FileDigest` makes of each of these files, read by all cores.

    Raises ``OSError``, which names the file.
    """
    sizes = [(path, path.stat().st_size) for path in paths]
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        pieces = [
            [pool.submit(_piece_digest, path, at) for at in range(0, max(size, 1), PIECE_BYTES)]
            for path, size in sizes
        ]
        return [_hex_of_pieces(b"".join(part.result() for part in parts)) for parts in pieces]
    finally:  # after an error or Ctrl-C, not when all the rest is read
        pool.shutdown(cancel_futures=True)


def _piece_digest(path: Path, at: int) -> bytes:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_READ_BYTES))
    with path.open("rb", buffering=0) as file:
        file.seek(at)
        left = PIECE_BYTES
        while left and (count := file.readinto(buffer[:left])):
            digest.update(buffer[:count])
            left -= count
    return digest.digest()


def _hex_of_pieces(digests: bytes) -> str:
    one = len(digests) == hashlib.sha256().digest_size
    return digests.hex() if one else hashlib.sha256(digests).hexdigest()
