"""What changes the scores of tokens before one is chosen, as functions of one row.

The maths, the order and the treatment of equal scores are those of transformers 5.23
(``generation/logits_process.py``), in float64 where that has float32. The penalties of the OpenAI
API come between. In order:

1. on all scores [V]: repetition, presence and frequency penalties, bias, bans;
2. when sampling: temperature, then the filters top-k, top-p, min-p and typical.

A filter takes the scores [n] of the tokens that are left, finite and by ascending id, and returns
which of them stay, bool [n]: at least one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "add_bias",
    "apply_temperature",
    "ban",
    "in_min_p",
    "in_top_k",
    "in_top_p",
    "in_typical_p",
    "penalize_presence_and_frequency",
    "penalize_repetition",
    "softmax",
]

Scores = NDArray[np.float64]
Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]

_FIRST_GUESS = 256
"""Of the tokens a filter looks at, how many it sorts at first; more come eightfold."""
_COLUMN = 64
"""Scores of which only the largest is looked at to find a bound for the largest of all."""


def penalize_repetition(scores: Scores, seen: Ids, penalty: float) -> Scores:
    """Divide positive scores of tokens ``seen`` by ``penalty``, multiply negative ones by it.

    Keskar et al., CTRL (arXiv 1909.05858); transformers' ``RepetitionPenaltyLogitsProcessor``.
    """
    scores = scores.copy()
    found = scores[seen]
    scores[seen] = np.where(found < 0, found * penalty, found / penalty)
    return scores


def penalize_presence_and_frequency(
    scores: Scores, ids: Ids, counts: NDArray[np.int64], presence: float, frequency: float
) -> Scores:
    """Subtract ``presence + counts * frequency`` from ``ids``, each seen ``counts`` times."""
    scores = scores.copy()
    scores[ids] -= presence + counts * frequency
    return scores


def add_bias(scores: Scores, ids: Ids, biases: Scores) -> Scores:
    """Add ``biases[i]`` to token ``ids[i]``."""
    scores = scores.copy()
    scores[ids] += biases
    return scores


def ban(scores: Scores, which: Ids | Mask) -> Scores:
    """Give these tokens, ids or a mask [V], no chance: -inf."""
    scores = scores.copy()
    scores[which] = -np.inf
    return scores


def apply_temperature(scores: Scores, temperature: float) -> Scores:
    """Divide by ``temperature`` > 0, shifted so that the largest is 0.

    Probabilities do not see the shift, and however cold it is nothing overflows but to -inf.
    """
    shifted = scores - scores.max()
    with np.errstate(over="ignore"):
        shifted /= temperature
    return np.asarray(shifted)


def in_top_k(scores: Scores, k: int) -> Mask:
    """The ``k`` largest, and whatever equals the last of them."""
    if k >= len(scores):
        return np.ones(len(scores), dtype=np.bool_)
    return np.asarray(scores >= _kth_largest(scores, k))


def in_top_p(scores: Scores, p: float) -> Mask:
    """The fewest of the most likely tokens whose probabilities reach ``p``.

    Holtzman et al., nucleus sampling (arXiv 1904.09751). From the least likely on, tokens go as
    long as their sum does not exceed 1 - p. Of equals higher ids go first, where torch's sorting
    leaves it open.
    """
    probabilities = softmax(scores)
    likely = _first(-scores, probabilities, p)[::-1]
    order = likely[np.argsort(scores[likely], kind="stable")]
    below = 0.0 if len(likely) == len(scores) else 1.0 - probabilities[likely].sum()
    stay = np.zeros(len(scores), dtype=np.bool_)
    stay[order] = below + probabilities[order].cumsum() > 1 - p
    stay[order[-1]] = True
    return stay


def in_min_p(scores: Scores, p: float) -> Mask:
    """Tokens at least ``p`` times as likely as the most likely one (arXiv 2407.01082)."""
    probabilities = softmax(scores)
    return np.asarray(probabilities >= p * probabilities.max())


def in_typical_p(scores: Scores, p: float) -> Mask:
    """Tokens whose surprise is nearest the expected one, until their probabilities reach ``p``.

    Meister et al., locally typical sampling (arXiv 2202.00666). Whatever is as near as the last
    one stays too.
    """
    probabilities = softmax(scores)
    surprise = np.log(np.exp(scores - scores.max()).sum()) - (scores - scores.max())
    distance = np.abs(surprise - (probabilities * surprise).sum())
    near = _first(distance, probabilities, p)
    order = near[np.argsort(distance[near], kind="stable")]
    last = min(int((probabilities[order].cumsum() < p).sum()), len(order) - 1)
    return np.asarray(distance <= distance[order[last]])


def softmax(scores: Scores) -> Scores:
    """Probabilities [n] of scores [n]."""
    # In place: to the system, fresh megabytes for each token are dearer than the arithmetic.
    weights = scores - scores.max()
    np.exp(weights, out=weights)
    weights /= weights.sum()
    return np.asarray(weights)


def _first(keys: Scores, weights: Scores, mass: float) -> Ids:
    """Indices, ascending, of the smallest ``keys``: enough for their ``weights`` to reach ``mass``.

    Equal keys are in it together. A vocabulary has a quarter of a million tokens and a
    distribution mostly a few dozen that count, so parting is much quicker than sorting.
    """
    count = _FIRST_GUESS
    while count < len(keys):
        chosen = np.flatnonzero(keys <= -_kth_largest(-keys, count))
        if weights[chosen].sum() >= mass:
            return chosen
        count *= 8
    return np.arange(len(keys))


def _kth_largest(scores: Scores, k: int) -> np.float64:
    """The ``k``-th largest score, 1 <= k <= n, of equals each counted.

    Cut into columns, whose largest are quickly found: the ``k``-th largest of these has ``k``
    scores that are no smaller, so that only what is no smaller either need be parted.
    """
    columns = len(scores) // _COLUMN
    if k <= columns:
        largest = scores[: columns * _COLUMN].reshape(_COLUMN, columns).max(axis=0)
        scores = scores[scores >= np.partition(largest, -k)[-k]]
    return np.float64(np.partition(scores, -k)[-k])
