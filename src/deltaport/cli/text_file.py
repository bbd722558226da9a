"""Reading a text that the user names on the command line."""

from __future__ import annotations

import codecs
import sys
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from deltaport.errors import InputError

__all__ = ["read_text"]

_PIECE = 1 << 20


def read_text(name: str, most_bytes: int | None = None) -> str:
    """All of the file ``name``, or of stdin for ``-``; or what fits into ``most_bytes`` of it.

    A character that does not fit as a whole is left out. Raises ``InputError`` for what cannot be
    read or is not UTF-8.
    """
    source = "standard input" if name == "-" else name
    try:
        if name == "-":
            data, whole = _read(_stdin(), most_bytes)
        else:
            with closing(Path(name).open("rb")) as file:
                data, whole = _read(file, most_bytes)
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}; check the path") from None
    try:
        # Of a character that is cut in two, the decoder keeps the beginning to itself.
        return codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not UTF-8 at byte {error.start}; convert it first") from None


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise InputError("standard input is closed; give it a text to read")
    return sys.stdin.buffer


def _read(file: BinaryIO, most: int | None) -> tuple[bytes, bool]:
    """Up to ``most`` bytes, and whether that is all of it; piece by piece, as most may be huge."""
    data = bytearray()
    while most is None or len(data) <= most:
        piece = file.read(_PIECE if most is None else min(_PIECE, most + 1 - len(data)))
        if not piece:
            return bytes(data), True
        data += piece
    return bytes(data[:most]), False
