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
    ok = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not ok or not least <= value or (most is not None and value > most):  # type: ignore[operator]
        bound = f"{least} to {most}" if most is not None else f"at least {least}"
        raise InputError(f"{name} is {value!r:.40}, expected an integer, {bound}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def token_ids(name: str, values: Iterable[object], vocab_size: int) -> list[int]:
    """``values`` as token ids below ``vocab_size``; ``name`` says whose they are."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name} is {values!r:.40}, expected a sequence of token ids")
    ids = []
    for at, value in enumerate(values):
        ok = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not ok or not 0 <= value < vocab_size:  # type: ignore[operator]
            raise InputError(
                f"{name}, token {at}: {value!r:.40} is not a token id below {vocab_size}"
            )
        ids.append(int(value))  # type: ignore[call-overload]
    return ids


def token_rows(rows: Rows, sequences: int, vocab_size: int) -> list[list[int] | None]:
    """``rows`` as lists of token ids, one for each of ``sequences``."""
    if not isinstance(rows, Collection) or len(rows) != sequences:
        found = f"{len(rows)} rows" if isinstance(rows, Collection) else f"{rows!r:.40}"
        raise InputError(f"got {found} for a session of {sequences} sequences")
    return [
        None if row is None else token_ids(f"row {i}", row, vocab_size)
        for i, row in enumerate(rows)
    ]
