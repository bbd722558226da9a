"""How far two answers are apart, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltaport.distributions import kl_divergence, log_softmax
from deltaport.numerics import relative_error
from deltaport.state_layout import StateLayout

__all__ = [
    "match_length",
    "state_errors",
    "token_divergences",
    "token_errors",
    "top1_agreement",
]

Floats = NDArray[np.float64]


def token_errors(actual: NDArray[Any], expected: NDArray[Any]) -> Floats:
    """Each token's share [n] in ``relative_error(actual, expected)`` of logits [n,V].

    The largest difference of a token's logits, over the largest expected logit of all tokens; so
    the largest of these is the error of the whole. Infinite where a logit is not finite.
    """
    largest = [_largest(row) for row in expected]
    scale = max(largest, default=0.0)
    errors = []
    for found, wanted, own in zip(actual, expected, largest, strict=True):
        error = relative_error(found, wanted)  # of this token alone
        errors.append(error * own / scale if np.isfinite(error) and np.isfinite(scale) else np.inf)
    return np.array(errors, dtype=np.float64)


def _largest(row: NDArray[Any]) -> float:
    return max(float(np.abs(row).max()), float(np.finfo(np.float32).tiny))


def token_divergences(expected: NDArray[Any], actual: NDArray[Any]) -> Floats:
    """KL(expected || actual) in nats of the distributions that logits [n,V] give, per token [n].

    Infinite where a logit is not finite.
    """
    divergences = []
    for wanted, found in zip(expected, actual, strict=True):  # one by one: V may be 250,000
        finite = np.isfinite(wanted).all() and np.isfinite(found).all()
        divergences.append(
            kl_divergence(log_softmax(wanted), log_softmax(found)) if finite else np.inf
        )
    return np.array(divergences, dtype=np.float64)


def top1_agreement(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """The share of tokens after which logits [n,V] put the same token first."""
    return float((actual.argmax(axis=-1) == expected.argmax(axis=-1)).mean())


def match_length(actual: Sequence[int], expected: Sequence[int]) -> int:
    """How many tokens are the same before the first that is not."""
    pairs = zip(actual, expected, strict=True)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(expected))


def state_errors(
    layout: StateLayout, actual: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]
) -> dict[str, float]:
    """The relative error of each state tensor, by its name as an input."""
    return {
        tensor.input: relative_error(actual[tensor.input], expected[tensor.input])
        for tensor in layout
    }
