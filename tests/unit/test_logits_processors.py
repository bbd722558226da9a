"""Scores and kept tokens are those of transformers' own classes, given the same in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers.generation import logits_process as theirs

from tests.oracles import logits_processors as lp

SIZES = (1, 2, 17, 1000)
LARGE = 60_000
"""More than is sorted at once, by far."""


def scores_of(size: int, seed: int, kind: str = "random") -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=size) * 3
    if kind == "ties":  # of steps so coarse that most values occur several times
        scores = np.round(scores)
    elif kind == "flat":
        scores = np.zeros(size)
    return scores


def reference(processor: Any, scores: NDArray[np.float64], ids: Any = ()) -> NDArray[np.float64]:
    context = torch.tensor([list(ids)], dtype=torch.int64)
    result: NDArray[np.float64] = processor(context, torch.from_numpy(scores.copy())[None])[
        0
    ].numpy()
    return result


def kept(processor: Any, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    return reference(processor, scores) > -np.inf


@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.3, 7.0])
def test_repetition_penalty(penalty: float) -> None:
    scores = scores_of(50, seed=1)
    scores[3], scores[4] = 0.0, -np.inf
    seen = [3, 4, 9, 9, 20, 49]
    found = lp.penalize_repetition(scores, np.unique(seen), penalty)
    expected = reference(theirs.RepetitionPenaltyLogitsProcessor(penalty), scores, seen)
    np.testing.assert_array_equal(found, expected)


def test_presence_and_frequency_penalties() -> None:
    scores, text = scores_of(10, seed=2), [4, 7, 4, 4]
    ids, counts = np.unique(text, return_counts=True)
    found = lp.penalize_presence_and_frequency(scores, ids, counts, 0.5, 0.25)
    # The OpenAI API reference: mu[j] - c[j] * frequency - float(c[j] > 0) * presence
    expected = [
        mu - text.count(j) * 0.25 - float(text.count(j) > 0) * 0.5 for j, mu in enumerate(scores)
    ]
    np.testing.assert_array_equal(found, expected)


def test_bias() -> None:
    scores = scores_of(12, seed=3)
    found = lp.add_bias(scores, np.array([11, 0]), np.array([-np.inf, 2.5]))
    expected = reference(theirs.SequenceBiasLogitsProcessor([[[11], -1e300], [[0], 2.5]]), scores)
    np.testing.assert_array_equal(found[:11], expected[:11])
    assert found[11] == -np.inf


def test_bans() -> None:
    scores, banned = scores_of(12, seed=4), [0, 5, 11]
    expected = reference(theirs.SuppressTokensLogitsProcessor(banned), scores)
    np.testing.assert_array_equal(lp.ban(scores, np.array(banned)), expected)
    mask = np.isin(np.arange(12), banned)
    np.testing.assert_array_equal(lp.ban(scores, mask), expected)


@pytest.mark.parametrize("temperature", [0.05, 0.7, 1.0, 3.5])
def test_temperature(temperature: float) -> None:
    scores = scores_of(100, seed=5)
    expected = reference(theirs.TemperatureLogitsWarper(temperature), scores)
    found = lp.apply_temperature(scores, temperature)
    np.testing.assert_allclose(found, expected - expected.max(), rtol=1e-12, atol=1e-12)


def test_however_cold_the_most_likely_stays() -> None:
    found = lp.apply_temperature(np.array([1.0, 3.0, 2.0, 3.0]), 1e-320)
    np.testing.assert_array_equal(found, [-np.inf, 0, -np.inf, 0])


@pytest.mark.parametrize("kind", ["random", "ties", "flat"])
@pytest.mark.parametrize("size", [*SIZES, LARGE])
@pytest.mark.parametrize("k", [1, 2, 5, 16, 17, 900, 5000])
def test_top_k(size: int, k: int, kind: str) -> None:
    scores = scores_of(size, seed=k, kind=kind)
    np.testing.assert_array_equal(lp.in_top_k(scores, k), kept(theirs.TopKLogitsWarper(k), scores))


@pytest.mark.parametrize("kind", ["random", "ties"])
@pytest.mark.parametrize("size", [*SIZES, LARGE])
@pytest.mark.parametrize("p", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999, 1.0])
def test_top_p(size: int, p: float, kind: str) -> None:
    scores = scores_of(size, seed=round(p * 1000), kind=kind)
    np.testing.assert_array_equal(lp.in_top_p(scores, p), nucleus(scores, p))


def nucleus(scores: NDArray[np.float64], p: float) -> NDArray[np.bool_]:
    """As many tokens as transformers keeps: of equals it keeps any, as torch happens to sort."""
    their_own = kept(theirs.TopPLogitsWarper(p), scores)
    best_first = np.lexsort((np.arange(len(scores)), -scores))[: their_own.sum()]
    np.testing.assert_array_equal(np.sort(scores[best_first]), np.sort(scores[their_own]))
    return np.isin(np.arange(len(scores)), best_first)


@pytest.mark.parametrize("size", [4, 16, 1 << 15])
@pytest.mark.parametrize("p", [0.25, 0.5, 0.75])
def test_top_p_of_equals(size: int, p: float) -> None:
    # All sums are exact, so whether the bound itself is in or out shows.
    scores = scores_of(size, seed=0, kind="flat")
    found = lp.in_top_p(scores, p)
    np.testing.assert_array_equal(found, nucleus(scores, p))
    assert found.sum() == size * p


@pytest.mark.parametrize("kind", ["random", "ties", "flat"])
@pytest.mark.parametrize("size", [*SIZES, LARGE])
@pytest.mark.parametrize("p", [0.0, 0.001, 0.1, 0.7, 1.0])
def test_min_p(size: int, p: float, kind: str) -> None:
    scores = scores_of(size, seed=round(p * 1000), kind=kind)
    np.testing.assert_array_equal(lp.in_min_p(scores, p), kept(theirs.MinPLogitsWarper(p), scores))


@pytest.mark.parametrize("size", [*SIZES, LARGE])
@pytest.mark.parametrize("p", [0.01, 0.2, 0.5, 0.9, 0.999])
def test_typical_p(size: int, p: float) -> None:
    scores = scores_of(size, seed=round(p * 1000))
    expected = kept(theirs.TypicalLogitsWarper(p), scores)
    np.testing.assert_array_equal(lp.in_typical_p(scores, p), expected)


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_typical_p_of_equals(p: float) -> None:
    scores = np.repeat(scores_of(40, seed=1), 8)
    expected = kept(theirs.TypicalLogitsWarper(p), scores)
    found = lp.in_typical_p(scores, p)
    np.testing.assert_array_equal(found, expected)
    assert found.sum() % 8 == 0
    assert lp.in_typical_p(np.zeros(5), p).all()


def test_processors_leave_what_they_are_given() -> None:
    scores = scores_of(9, seed=8)
    before, ids = scores.copy(), np.array([1, 2])
    lp.penalize_repetition(scores, ids, 2.0)
    lp.penalize_presence_and_frequency(scores, ids, ids, 1.0, 1.0)
    lp.add_bias(scores, ids, np.ones(2))
    lp.ban(scores, ids)
    lp.apply_temperature(scores, 2.0)
    np.testing.assert_array_equal(scores, before)
