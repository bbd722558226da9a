"""Checking what callers pass, before anything is done with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from deltaport.errors import InputError

__all__ = ["Rows", "integer", "token_ids", "token_rows"]

Rows = Sequence[Sequence[int] | None]
"""Token ids per row; ``None`` leaves a row alone."""


def integer(name: str, value: object, *, least: int = 1, most: int | None = None) -> int:
    """``value`` as an int from ``least`` to ``most``, or an ``InputError`` naming the argument."""
    number = _as_int(value)
    if number is None or number < least or (most is not None and number > most):
        bound = f"{least} to {most}" if most is not None else f"at least {least}"
        raise InputError(f"{name} is {value!r:.40}, expected an integer, {bound}")
    return number


def token_ids(name: str, values: Iterable[object], vocab_size: int) -> list[int]:
    """``values`` as token ids below ``vocab_size``; ``name`` says whose they are."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name} is {values!r:.40}, expected a sequence of token ids")
    ids = []
    for at, value in enumerate(values):
        token = _as_int(value)
        if token is None or not 0 <= token < vocab_size:
            raise InputError(
                f"{name}, token {at}: {value!r:.40} is not a token id below {vocab_size}"
            )
        ids.append(token)
    return ids


def _as_int(value: object) -> int | None:
    """Python's and numpy's integers; not ``True``, which is an ``int`` by accident."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return None
    return int(value)


def token_rows(rows: Rows, sequences: int, vocab_size: int) -> list[list[int] | None]:
    """``rows`` as lists of token ids, one for each of ``sequences``."""
    if not isinstance(rows, Collection) or len(rows) != sequences:
        found = f"{len(rows)} rows" if isinstance(rows, Collection) else f"{rows!r:.40}"
        raise InputError(f"got {found} for a session of {sequences} sequences")
    return [
        None if row is None else token_ids(f"row {i}", row, vocab_size)
        for i, row in enumerate(rows)
    ]
