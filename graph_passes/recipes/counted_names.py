"""Recipes that differ by one number in their tensors' names, as one text for all of them."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

__all__ = ["SourceName", "counted"]

_FEWEST = 4
"""Parts from which on a range is shorter to read than a list."""
_MOST_DIGITS = 9
_NUMBER = re.compile(r"([0-9]+)")
_PLACE = re.compile(r"\{([a-z])\}")
_LETTERS = string.ascii_lowercase[string.ascii_lowercase.index("i") :]


class SourceName(str):
    """A piece of a recipe's text that is the plain name of a tensor."""

    __slots__ = ()


def counted(parts: Sequence[Sequence[str]]) -> list[str] | None:
    """``i=0..511: experts.{i}.up:float32[2]`` for parts that follow this pattern, else None.

    Parts are given as their pieces, and so is the result. Each must differ from the one before it
    in names alone, and there by numbers that count upwards by one, all the same number.
    """
    if len(parts) < _FEWEST or len({len(part) for part in parts}) > 1:
        return None
    used = {letter for piece in parts[0] for letter in _PLACE.findall(piece)}
    letter = next((letter for letter in _LETTERS if letter not in used), None)
    if letter is None:
        return None
    starts: set[int] = set()
    template = [_template(column, letter, starts) for column in zip(*parts, strict=True)]
    if len(starts) != 1:
        return None
    [start] = starts
    pieces = [piece for piece in template if piece is not None]
    if len(pieces) < len(template):
        return None
    return [f"{letter}={start}..{start + len(parts) - 1}: ", *pieces]


def _template(column: Sequence[str], letter: str, starts: set[int]) -> str | None:
    """What stands for a piece of every part, numbers that are counted replaced by ``{letter}``."""
    if len(set(column)) == 1:
        return column[0]
    split = [_NUMBER.split(piece) for piece in column if isinstance(piece, SourceName)]
    if len(split) < len(column) or len({len(texts) for texts in split}) > 1:
        return None
    template = ""
    for texts in zip(*split, strict=True):
        if len(set(texts)) == 1:
            template += texts[0]
            continue
        start = _counts_from(texts)
        if start is None:
            return None
        starts.add(start)
        template += f"{{{letter}}}"
    return SourceName(template)


def _counts_from(texts: Sequence[str]) -> int | None:
    if not _NUMBER.fullmatch(texts[0]) or len(texts[0]) > _MOST_DIGITS:
        return None
    start = int(texts[0])
    return start if all(text == str(start + i) for i, text in enumerate(texts)) else None
