"""What an evaluation found, for people and for programs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from deltaport.distributions import Floats
from deltaport.strict_json import finite_only

__all__ = ["Comparison", "Estimate", "Evaluation", "Score"]


@dataclass(frozen=True)
class Estimate:
    """A mean over tokens, and its standard error as if tokens were independent of each other."""

    mean: float
    standard_error: float

    @classmethod
    def of(cls, values: Floats) -> Self:
        """Of one value a token; the error of a single one is not known, and given as 0."""
        spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        return cls(float(values.mean()), spread / math.sqrt(len(values)))

    @property
    def exponential(self) -> Self:
        """Of e to this power; the error as small errors carry over."""
        power = _exp(self.mean)
        error = power * self.standard_error if self.standard_error else 0.0
        return type(self)(power, error)


@dataclass(frozen=True)
class Score:
    """How well one engine predicts the text.

    ``nats``: the mean over predicted tokens of -log p(token | those before it in its context).
    ``bits_per_byte``: bits a coder needs that knows the engine, over the bytes of the text. The
    first token has nothing before it and counts as one of V equally likely ones.
    """

    engine: str
    nats: Estimate
    bits_per_byte: float

    @classmethod
    def of(cls, engine: Path, nats: Floats, *, size: int, vocab_size: int) -> Self:
        """From the -log p [n] of all tokens but the first, of a text of ``size`` bytes."""
        bits = (float(nats.sum()) + math.log(vocab_size)) / math.log(2)
        return cls(str(engine), Estimate.of(nats), bits / size)

    @property
    def perplexity(self) -> Estimate:
        """By how many equally likely tokens the engine is puzzled, so to speak: e to the mean."""
        return self.nats.exponential

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "engine": self.engine,
            "nats_per_token": asdict(self.nats),
            "perplexity": asdict(self.perplexity),
            "bits_per_byte": self.bits_per_byte,
        }


@dataclass(frozen=True)
class Comparison:
    """How far an engine is from a reference, token by token on the same text.

    ``kl``: KL(reference || engine) in nats, over the whole vocabulary. ``top1``: the share of
    places where both think the same token the most likely. ``ratio``: the engine's perplexity over
    the reference's; its error is that of the paired difference, smaller than those of the two.
    """

    kl: Estimate
    kl_median: float
    kl_99th: float
    kl_max: float
    top1: float
    ratio: Estimate

    @classmethod
    def of(cls, kl: Floats, agreed: NDArray[np.bool_], more_nats: Floats) -> Self:
        """From values [n] a token; ``more_nats`` is the engine's -log p less the reference's."""
        median, almost_all = (float(value) for value in np.quantile(kl, (0.5, 0.99)))
        ratio = Estimate.of(more_nats).exponential
        return cls(
            Estimate.of(kl), median, almost_all, float(kl.max()), float(agreed.mean()), ratio
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "kl_nats": {
                **asdict(self.kl),
                "median": self.kl_median,
                "99th_percentile": self.kl_99th,
                "max": self.kl_max,
            },
            "top1_agreement": self.top1,
            "perplexity_ratio": asdict(self.ratio),
        }


@dataclass(frozen=True)
class Evaluation:
    """Everything an evaluation found; the last two are None without an engine to compare with.

    ``context`` is the most tokens a prediction may have before it; of ``contexts`` each began anew.
    """

    size: int
    tokens: int
    context: int
    contexts: int
    score: Score
    reference: Score | None
    comparison: Comparison | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, in bytes and tokens; numbers that are not finite are null."""
        document: dict[str, Any] = finite_only(
            {
                "text": {"bytes": self.size, "tokens": self.tokens},
                "context": self.context,
                "contexts": self.contexts,
                "score": self.score.to_json(),
                "reference": None if self.reference is None else self.reference.to_json(),
                "comparison": None if self.comparison is None else self.comparison.to_json(),
            }
        )
        return document


def _exp(power: float) -> float:
    """E to ``power``; a ratio of perplexities beyond any float is infinite."""
    try:
        return math.exp(power)
    except OverflowError:
        return math.inf
