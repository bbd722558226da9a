"""What is kept of every prediction: a few numbers, not the distribution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deltaport.distributions import Floats, kl_divergence
from deltaport.evaluate.evaluation import Comparison

__all__ = ["Ledger"]


class Ledger:
    """Predictions of one engine, or of two for the same places; the second is the reference."""

    def __init__(self, engines: int) -> None:
        self._nats: list[list[float]] = [[] for _ in range(engines)]
        self._divergences: list[float] = []
        self._agreed: list[bool] = []

    def enter(self, target: int, beliefs: Sequence[Floats]) -> None:
        """One more place: the token that came, and each engine's log-probabilities [V] of it."""
        for own, belief in zip(self._nats, beliefs, strict=True):
            own.append(-float(belief[target]))
        if len(beliefs) == 2:
            found, wanted = beliefs
            self._divergences.append(kl_divergence(wanted, found))
            self._agreed.append(bool(found.argmax() == wanted.argmax()))

    @property
    def nats(self) -> list[Floats]:
        """Each engine's -log p of the tokens that came, [n]."""
        return [np.array(own) for own in self._nats]

    def comparison(self) -> Comparison:
        """Of the first engine with the second."""
        found, wanted = self.nats
        return Comparison.of(np.array(self._divergences), np.array(self._agreed), found - wanted)
