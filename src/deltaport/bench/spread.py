"""A figure that was measured several times."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Spread"]


@dataclass(frozen=True)
class Spread:
    """Median and quartiles, which a few bad runs do not move."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value; quartiles between values are interpolated."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, lower, upper)

    @property
    def relative(self) -> float:
        """Distance of the quartiles as a share of the median."""
        return (self.upper - self.lower) / self.median

    def to_json(self) -> dict[str, Any]:
        """``median``, ``lower`` and ``upper``."""
        return asdict(self)
