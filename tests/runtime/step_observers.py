"""Watching, breaking and changing the steps of an engine from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltaport.runtime import Engine

__all__ = ["Steps", "observed"]


class Steps:
    """Notes what every step is fed; ``break_at`` is told the number of each, from 1, before it."""

    def __init__(
        self,
        break_at: Callable[[int], None] = lambda _: None,
        change: Callable[[NDArray[np.float32]], None] = lambda _: None,
    ) -> None:
        self.inputs: list[Mapping[str, NDArray[np.int64]]] = []
        self._break_at = break_at
        self._change = change

    def before(self, inputs: Mapping[str, NDArray[np.int64]]) -> None:
        self.inputs.append(inputs)
        self._break_at(len(self.inputs))

    def after(self, logits: NDArray[np.float32], taps: Mapping[str, Any]) -> None:
        self._change(logits)

    @property
    def widths(self) -> list[int]:
        return [step["input_ids"].shape[1] for step in self.inputs]

    @property
    def tokens(self) -> int:
        return sum(int(step["lengths"].sum()) for step in self.inputs)


@contextmanager
def observed(engine: Engine, steps: Steps) -> Iterator[Steps]:
    """Sessions opened in the block show their steps, for as long as they live."""
    engine.observer = steps
    try:
        yield steps
    finally:
        engine.observer = None
