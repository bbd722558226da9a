"""Scales that were found beside codes, kept until they are read: no weight is quantized twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KeptScales", "Place", "keeping_scales", "kept_scales"]

Place = tuple[int | slice, ...]


class KeptScales:
    """By what they are scales of: those of the tiles that were quantized, and not read yet."""

    def __init__(self) -> None:
        self._found: dict[object, tuple[NDArray[Any], NDArray[np.bool_]]] = {}

    def put(self, owner: object, shape: tuple[int, ...], at: Place, scales: NDArray[Any]) -> None:
        """Keep ``scales`` [n,blocks,numbers,16] of the tiles ``at`` a place [..,tiles].

        ``shape`` is that of all the owner's.
        """
        if owner not in self._found:
            mask = np.zeros(shape[:-3], np.bool_)
            self._found[owner] = np.empty(shape, scales.dtype), mask
        values, there = self._found[owner]
        values[at], there[at] = scales, True

    def take(self, owner: object, at: Place) -> NDArray[Any] | None:
        """Those of the tiles ``at`` a place, if all of them are there; they are kept no longer."""
        values, there = self._found.get(owner, (None, None))
        if values is None or there is None or not there[at].all():
            return None
        found: NDArray[Any] = values[at].copy()
        there[at] = False
        if not there.any():
            del self._found[owner]
        return found


_KEPT: ContextVar[KeptScales | None] = ContextVar("kept_scales", default=None)


def kept_scales() -> KeptScales | None:
    """Where scales are kept now, if they are."""
    return _KEPT.get()


@contextmanager
def keeping_scales() -> Iterator[None]:
    """For the block, scales of codes that are read are kept until they are read in turn.

    Whoever reads codes and then scales, as they are written, quantizes once. In memory are scales
    of what was not read yet: for 4 bits in blocks of 32, an eighth of the codes.
    """
    token = _KEPT.set(KeptScales())
    try:
        yield
    finally:
        _KEPT.reset(token)
