"""Checking what callers pass, before anything is done with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TypeGuard

import numpy as np

from deltaport.errors import InputError

__all__ = ["Rows", "flag", "integer", "number", "one_per_row", "token_ids", "token_rows"]

LARGEST = 2**63 - 1
"""Of what the native runtime takes."""

Rows = Sequence[Sequence[int] | None]
"""Token ids per row; ``None`` leaves a row alone."""


def integer(name: str, value: object, *, least: int = 1, most: int | None = None) -> int:
    """``value`` as an int from ``least`` to ``most``, or an ``InputError`` naming the argument."""
    number = _as_int(value)
    largest = LARGEST if most is None else most
    if number is None or not least <= number <= largest:
        too_large = number is not None and number > largest
        bound = f"at least {least}" if most is None and not too_large else f"{least} to {largest}"
        raise InputError(f"{name} is {value!r:.40}, expected an integer, {bound}")
    return number


def number(name: str, value: object, *, least: float, most: float, above: bool = False) -> float:
    """``value`` as a float from ``least`` to ``most``; with ``above``, more than ``least``.

    Raises ``InputError`` naming the argument, for NaN as well.
    """
    if _is_real(value) and least <= value <= most and not (above and value == least):
        return float(value)
    bound = f"above {least:g}, at most {most:g}" if above else f"{least:g} to {most:g}"
    raise InputError(f"{name} is {value!r:.40}, expected a number, {bound}")


def flag(name: str, value: object) -> bool:
    """``value`` if it is a truth value, or an ``InputError`` naming the argument."""
    if not isinstance(value, bool):
        raise InputError(f"{name} is {value!r:.40}, expected True or False")
    return value


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


def _is_real(value: object) -> TypeGuard[float]:
    """Python's and numpy's real numbers; not ``True``."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def token_rows(rows: Rows, sequences: int, vocab_size: int) -> list[list[int] | None]:
    """``rows`` as lists of token ids, one for each of ``sequences``."""
    one_per_row(rows, sequences)
    return [
        None if row is None else token_ids(f"row {i}", row, vocab_size)
        for i, row in enumerate(rows)
    ]


def one_per_row(rows: object, sequences: int) -> None:
    """Refuse what does not hold one item for each of ``sequences``."""
    if isinstance(rows, str) or not isinstance(rows, Collection) or len(rows) != sequences:
        listed = isinstance(rows, Collection) and not isinstance(rows, str)
        found = f"{len(rows)} rows" if listed else f"{rows!r:.40}"  # type: ignore[arg-type]
        raise InputError(f"got {found} for a session of {sequences} sequences")
