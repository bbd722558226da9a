"""Reading a text that the user names on the command line."""

from __future__ import annotations

import codecs
from typing import BinaryIO

from deltaport.errors import InputError

__all__ = ["read_text"]


def read_text(file: BinaryIO, most_bytes: int | None) -> str:
    """All of ``file``, or its first ``most_bytes`` less what is left of a character cut in two.

    Raises ``InputError`` for a file that cannot be read or is not UTF-8.
    """
    try:
        data = file.read() if most_bytes is None else file.read(most_bytes + 1)
    except OSError as error:
        raise InputError(f"{file.name}: cannot be read: {error.strerror}") from None
    # Bytes that are left over may be the rest of a character: the decoder keeps them to itself.
    whole = most_bytes is None or len(data) <= most_bytes
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(data[:most_bytes], final=whole)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file.name}: not UTF-8 at byte {error.start}; convert it first"
        ) from None
