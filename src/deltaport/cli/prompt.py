"""What the user gives a model to continue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deltaport.errors import InputError

from .text_file import read_text

__all__ = ["check_context", "check_ids", "parse_ids", "read_prompt"]

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


def check_context(context: int | None, most: int, *, source: Path) -> None:
    """Refuse a ``--context`` beyond the ``most`` tokens that ``source`` takes."""
    if context is not None and context > most:
        raise InputError(
            f"--context {context}: {source} takes 1 to {most} tokens; pass a lower one"
        )


def check_ids(tokens: Sequence[int], vocab_size: int, *, source: str) -> None:
    """Refuse token ids that the model does not have; ``source`` is where they came from."""
    for token in tokens:
        if token >= vocab_size:
            raise InputError(
                f"{source}: {token} is not a token id of this engine; expected 0 to "
                f"{vocab_size - 1}"
            )


def read_prompt(prompt: str) -> str:
    """The text to continue: ``prompt`` itself, or for ``-`` all of stdin. Never empty."""
    text = read_text("-") if prompt == "-" else prompt
    if not text:
        raise InputError("the prompt is empty; give the model something to continue")
    return text
