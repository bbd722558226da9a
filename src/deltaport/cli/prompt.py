"""What the user gives a model to continue."""

from __future__ import annotations

import sys

from deltaport.errors import InputError

__all__ = ["parse_ids", "read_prompt"]

_MOST_DIGITS = 10
"""More than any vocabulary needs, fewer than Python refuses to convert."""


def parse_ids(ids: str) -> list[int]:
    """Token ids of a list such as ``1,2,3``; ``InputError`` for anything else."""
    parts = [part.strip() for part in ids.split(",")]
    for part in parts:
        if not (part.isascii() and part.isdecimal() and len(part) <= _MOST_DIGITS):
            raise InputError(
                f'--ids: {part[:40]!r} is not a token id; expected a list such as "1,2,3"'
            )
    return [int(part) for part in parts]


def read_prompt(prompt: str) -> str:
    """The text to continue: ``prompt`` itself, or for ``-`` all of stdin. Never empty."""
    if prompt != "-":
        text = prompt
    else:
        try:
            text = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"standard input: not UTF-8 at byte {error.start}; convert it first"
            ) from None
        except OSError as error:
            raise InputError(f"standard input: cannot be read: {error.strerror}") from None
    if not text:
        raise InputError("the prompt is empty; give the model something to continue")
    return text
