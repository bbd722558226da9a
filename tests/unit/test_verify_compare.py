"""The figures of a verification, against the formulas spelled out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deltaport.numerics import relative_error
from deltaport.verify.compare import match_length, token_divergences, token_errors, top1_agreement
from deltaport.verify.oracle import continue_greedily, smallest_margins


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    expected = (5 * rng.standard_normal((7, 11))).astype(np.float32)
    return expected, (expected + 0.3 * rng.standard_normal((7, 11))).astype(np.float32)


class TestTokenErrors:
    def test_they_are_shares_of_the_error_of_the_whole(
        self, pair: tuple[np.ndarray, np.ndarray]
    ) -> None:
        expected, actual = pair
        largest = max(abs(float(x)) for x in expected.flat)
        by_hand = [
            max(abs(float(a) - float(e)) for a, e in zip(found, wanted, strict=True)) / largest
            for found, wanted in zip(actual, expected, strict=True)
        ]
        errors = token_errors(actual, expected)
        np.testing.assert_allclose(errors, by_hand, rtol=1e-12)
        assert errors.max() == pytest.approx(relative_error(actual, expected), rel=1e-12)

    def test_a_token_of_zeros_is_no_division_by_zero(self) -> None:
        expected = np.array([[0.0, 0.0], [2.0, -4.0]], np.float32)
        actual = np.array([[1.0, 0.0], [2.0, -4.0]], np.float32)
        np.testing.assert_allclose(token_errors(actual, expected), [0.25, 0.0])

    @pytest.mark.parametrize("wrong", [np.nan, np.inf])
    @pytest.mark.parametrize("side", [0, 1])
    def test_what_is_not_finite_is_infinitely_wrong(self, wrong: float, side: int) -> None:
        arrays = [np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)]
        arrays[side][1, 2] = wrong
        assert token_errors(*arrays).max() == math.inf


class TestKlDivergence:
    def test_it_is_the_sum_of_its_definition(self, pair: tuple[np.ndarray, np.ndarray]) -> None:
        expected, actual = pair
        by_hand = []
        for wanted, found in zip(expected.tolist(), actual.tolist(), strict=True):
            p, q = ([math.exp(x) for x in row] for row in (wanted, found))
            p, q = ([x / math.fsum(row) for x in row] for row in (p, q))
            by_hand.append(math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
        np.testing.assert_allclose(token_divergences(expected, actual), by_hand, rtol=1e-9)

    def test_it_is_of_the_oracle_to_the_engine_and_not_the_other_way(self) -> None:
        sure, even = np.array([[0.0, math.log(3)]]), np.array([[0.0, 0.0]])
        [found] = token_divergences(sure, even)
        assert found == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))
        [other] = token_divergences(even, sure)
        assert other == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))

    def test_large_logits_do_not_overflow(self) -> None:
        [found] = token_divergences(np.array([[1000.0, 0.0]]), np.array([[0.0, 1000.0]]))
        assert found == pytest.approx(1000.0)

    def test_equal_logits_and_shifted_ones_do_not_diverge(self) -> None:
        logits = np.array([[1.0, 2.0, 3.0]], np.float32)
        assert token_divergences(logits, logits)[0] == 0.0
        assert token_divergences(logits, logits + 5)[0] == pytest.approx(0.0, abs=1e-12)

    def test_what_is_not_finite_diverges_infinitely(self) -> None:
        logits = np.array([[1.0, 2.0]])
        assert token_divergences(logits, np.array([[np.nan, 2.0]]))[0] == math.inf


def test_top1_agreement_is_a_share() -> None:
    expected = np.array([[1, 2, 0], [5, 1, 0], [0, 1, 2], [0, 1, 2]])
    actual = np.array([[0, 9, 1], [5, 6, 0], [0, 1, 2], [3, 1, 2]])
    assert top1_agreement(actual, expected) == 0.5


@pytest.mark.parametrize(
    ("actual", "expected", "length"),
    [([1, 2, 3], [1, 2, 3], 3), ([1, 9, 3], [1, 2, 3], 1), ([9, 2], [1, 2], 0), ([], [], 0)],
)
def test_match_length(actual: list[int], expected: list[int], length: int) -> None:
    assert match_length(actual, expected) == length


def test_margins_are_between_the_last_chosen_and_the_first_not_chosen() -> None:
    first = np.array([[1.0, 5.0, 4.5, 0.0], [9.0, 1.0, 2.0, 3.0]], np.float32)
    second = np.array([[8.0, 1.0, 7.0, 6.9], [0.0, 4.0, 1.0, 9.0]], np.float32)
    margins = smallest_margins([first, second], top_k=2, tokens=2)
    np.testing.assert_allclose(margins, [0.1, 1.0], rtol=1e-5)


def test_margins_without_a_choice_are_infinite() -> None:
    assert smallest_margins([], top_k=0, tokens=2).tolist() == [math.inf] * 2
    everyone = np.zeros((2, 3), np.float32)
    assert smallest_margins([everyone], top_k=3, tokens=2).tolist() == [math.inf] * 2


def test_continuing_feeds_back_what_was_most_likely() -> None:
    given: list[int] = []

    def step(token: int) -> np.ndarray:
        given.append(token)
        return np.eye(5, dtype=np.float32)[(token + 1) % 5]

    tokens, logits = continue_greedily(np.eye(5, dtype=np.float32)[3], step, 4)
    assert tokens == [3, 4, 0, 1]
    assert given == [3, 4, 0], "what follows the last token is not asked for"
    np.testing.assert_array_equal(logits, np.eye(5)[[3, 4, 0, 1]])
    none, nothing = continue_greedily(np.zeros(5, np.float32), step, 0)
    assert (none, nothing.shape) == ([], (0, 5))
