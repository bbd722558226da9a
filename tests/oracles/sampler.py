"""Choosing the tokens of one sequence: the native sampler's maths in NumPy, in float64."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from deltaport.errors import InputError
from deltaport.runtime import SamplingParams
from deltaport.runtime.allowed_tokens import allowed_mask
from tests.oracles import logits_processors as lp

__all__ = ["Sampler", "log_probabilities", "uniform"]

Logits = NDArray[np.float32] | lp.Scores


class Sampler:
    """Picks tokens by ``params``, remembering what came before.

    What it picks depends on the logits, the sequence's own tokens and the seed, and on nothing
    else. ``prompt``: the tokens before the first new one; ``ends``: ids that are banned until
    ``min_new_tokens`` have come.
    """

    def __init__(
        self,
        params: SamplingParams,
        vocab_size: int,
        prompt: Sequence[int] = (),
        ends: Collection[int] = (),
    ) -> None:
        self._params = params
        self._vocab_size = vocab_size
        self._new: list[int] = []
        self._seed = secrets.randbits(64) if params.seed is None else params.seed
        self._ends = np.array(sorted(ends), dtype=np.int64)
        self._biased = np.array(list(params.logit_bias), dtype=np.int64)
        self._biases = np.array(list(params.logit_bias.values()), dtype=np.float64)
        self._suppressed = np.array(params.suppress_tokens, dtype=np.int64)
        self._counts = np.zeros(vocab_size, dtype=np.int64) if self._counting else None
        self._seen = None
        if params.repetition_penalty != 1:
            self._seen = np.zeros(vocab_size, dtype=np.bool_)
            self._seen[list(prompt)] = True

    @property
    def _counting(self) -> bool:
        return self._params.presence_penalty != 0 or self._params.frequency_penalty != 0

    def pick(self, logits: NDArray[np.float32]) -> int:
        """The next token after ``logits`` [V], which hold no NaN and whose largest is finite.

        Changes nothing: the same again until :meth:`add`. Raises ``InputError`` where bans and
        ``allowed_tokens`` leave nothing to choose, and whatever ``allowed_tokens`` raises.
        """
        scores = self._processed(logits)
        top = int(scores.argmax())
        if scores[top] == -np.inf:
            raise InputError(
                "no token is left to choose: allowed_tokens, suppress_tokens, logit_bias and "
                "min_new_tokens ban all; allow at least one"
            )
        return top if self._params.temperature == 0 else self._draw(np.asarray(scores, np.float64))

    def add(self, token: int) -> None:
        """The sequence goes on with ``token``."""
        self._new.append(token)
        if self._counts is not None:
            self._counts[token] += 1
        if self._seen is not None:
            self._seen[token] = True

    def _processed(self, logits: NDArray[np.float32]) -> Logits:
        """Logits after penalties, biases and bans; the very same where there are none."""
        params = self._params
        processed: Logits = logits
        if self._seen is not None:
            seen = np.flatnonzero(self._seen)
            processed = lp.penalize_repetition(_wide(processed), seen, params.repetition_penalty)
        if self._counts is not None and self._new:
            ids = np.flatnonzero(self._counts)
            processed = lp.penalize_presence_and_frequency(
                _wide(processed),
                ids,
                self._counts[ids],
                params.presence_penalty,
                params.frequency_penalty,
            )
        if len(self._biased):
            processed = lp.add_bias(_wide(processed), self._biased, self._biases)
        if len(self._new) < params.min_new_tokens and len(self._ends):
            processed = lp.ban(_wide(processed), self._ends)
        if len(self._suppressed):
            processed = lp.ban(_wide(processed), self._suppressed)
        allowed = allowed_mask(params.allowed_tokens, self._new, self._vocab_size)
        if allowed is not None:
            processed = lp.ban(_wide(processed), ~allowed)
        return processed

    def _draw(self, scores: lp.Scores) -> int:
        """One token by its probability, from those that all filters leave."""
        params = self._params
        # Temperature does not change who is largest, and is quicker on the few that are left.
        largest = lp.in_top_k(scores, params.top_k or len(scores))
        ids = np.flatnonzero(largest)
        # By the mask: by all ids of a vocabulary it takes ten times as long.
        scores = lp.apply_temperature(scores[largest], params.temperature)
        possible = scores > -np.inf
        ids, scores = ids[possible], scores[possible]
        filters: list[Callable[[lp.Scores], lp.Mask]] = []
        if params.top_p < 1:
            filters.append(lambda left: lp.in_top_p(left, params.top_p))
        if params.min_p > 0:
            filters.append(lambda left: lp.in_min_p(left, params.min_p))
        if params.typical_p < 1:
            filters.append(lambda left: lp.in_typical_p(left, params.typical_p))
        for filtered in filters:
            stay = filtered(scores)
            ids, scores = ids[stay], scores[stay]
        sums = lp.softmax(scores)
        np.cumsum(sums, out=sums)
        point = uniform(self._seed, len(self._new)) * sums[-1]
        return int(ids[np.searchsorted(sums, point, side="right")])


def _wide(scores: Logits) -> lp.Scores:
    return scores.astype(np.float64, copy=False)


def uniform(seed: int, index: int) -> float:
    """The number in [0, 1) that chooses new token ``index``, counted from 0; 53 random bits.

    It depends on these two alone, so any runtime can make it anew at any place: Philox4x64-10
    (Salmon et al., SC 2011) with the key (seed, 0) and the counter (index + 1, 0, 0, 0); the upper
    53 bits of the first word of the block.
    """
    block = np.random.Philox(key=seed, counter=index)  # counts up before it gives the first block
    return float(int(block.random_raw()) >> 11) * 2.0**-53


def log_probabilities(
    logits: NDArray[np.float32], token: int, count: int
) -> tuple[float, tuple[tuple[int, float], ...]]:
    """Of ``token``, and of the ``count`` most likely tokens with their ids.

    Natural logarithms of the softmax of the model's own logits [V], in float64, before penalties,
    bans and temperature. The most likely come first, equals by id.
    """
    scores = _wide(logits)
    largest = scores.max()
    total = float(largest + np.log(np.exp(scores - largest).sum()))
    top: list[int] = []
    if count:
        few = np.flatnonzero(lp.in_top_k(scores, count) & (scores > -np.inf))
        top = [int(i) for i in few[np.argsort(-scores[few], kind="stable")][:count]]
    return float(scores[token]) - total, tuple((i, float(scores[i]) - total) for i in top)
