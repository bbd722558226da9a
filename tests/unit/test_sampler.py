"""Which tokens are drawn, and how often, against NumPy written out anew."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deltaport.errors import InputError
from deltaport.runtime import SamplingParams
from tests.oracles.sampler import Sampler, log_probabilities, uniform

VOCAB = 40
DRAWS = 20_000
MASK = 2**64 - 1


def logits_of(seed: int, size: int = VOCAB) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=size) * 2).astype(np.float32)


def philox4x64_10(counter: list[int], key: list[int]) -> list[int]:
    """Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011)."""
    x, k = list(counter), list(key)
    for _ in range(10):
        high_0, low_0 = divmod(0xD2E7470EE14C6C93 * x[0], 2**64)
        high_2, low_2 = divmod(0xCA5A826395121157 * x[2], 2**64)
        x = [high_2 ^ x[1] ^ k[0], low_2, high_0 ^ x[3] ^ k[1], low_0]
        k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
    return x


def test_philox_written_out_is_the_philox_of_the_paper() -> None:
    # The known answers that come with Random123, in kat_vectors.
    assert philox4x64_10([0] * 4, [0] * 2)[0] == 0x16554D9ECA36314C
    assert philox4x64_10([MASK] * 4, [MASK] * 2)[0] == 0x87B092C3013FE90B


@pytest.mark.parametrize("seed", [0, 1, 20_251, MASK])
@pytest.mark.parametrize("index", [0, 1, 2, 999, 262_143])
def test_a_draw_depends_on_seed_and_index_alone(seed: int, index: int) -> None:
    word = philox4x64_10([index + 1, 0, 0, 0], [seed, 0])[0]
    assert uniform(seed, index) == (word >> 11) / 2**53


def reference(logits: NDArray[np.float32], **params: Any) -> NDArray[np.float64]:
    """The distribution [V], by the definitions, from plain sorted lists."""
    scores = logits.astype(np.float64) / params["temperature"]
    left = {i: math.exp(scores[i] - scores.max()) for i in range(len(scores))}

    def normalized() -> dict[int, float]:
        total = math.fsum(left.values())
        return {i: weight / total for i, weight in left.items()}

    def keep(ids: Any) -> None:
        chosen = set(ids)
        for i in [i for i in left if i not in chosen]:
            del left[i]

    by_weight = sorted(left, key=lambda i: -left[i])
    if "top_k" in params:
        keep(by_weight[: params["top_k"]])
    if "top_p" in params:
        p = normalized()
        ranked = sorted(p, key=lambda i: -p[i])
        before = [0.0, *itertools.accumulate(p[i] for i in ranked)]
        keep(i for i, mass in zip(ranked, before, strict=False) if mass < params["top_p"])
    if "min_p" in params:
        p = normalized()
        keep(i for i in p if p[i] >= params["min_p"] * max(p.values()))
    if "typical_p" in params:
        p = normalized()
        entropy = -math.fsum(q * math.log(q) for q in p.values())
        ranked = sorted(p, key=lambda i: abs(-math.log(p[i]) - entropy))
        before = [0.0, *itertools.accumulate(p[i] for i in ranked)]
        keep(i for i, mass in zip(ranked, before, strict=False) if mass < params["typical_p"])
    found = np.zeros(len(logits))
    for i, q in normalized().items():
        found[i] = q
    return found


def chi_square_tail(value: float, degrees: int) -> float:
    """The probability of more than ``value``, for an even number of degrees of freedom.

    It is that of fewer than degrees / 2 events of a Poisson process by the time value / 2.
    """
    term = total = 1.0
    for i in range(1, degrees // 2):
        term *= value / 2 / i
        total += term
    return math.exp(-value / 2) * total


def passes(chi_square: float, degrees: int) -> bool:
    """Whether chance gives as much more often than once in a million.

    Seeds are fixed, so a test passes always or never. An odd number of degrees takes the tail of
    the next even one, which is a little heavier.
    """
    return chi_square_tail(chi_square, degrees + degrees % 2) > 1e-6


FILTERS = {"top_k": 12, "top_p": 0.8, "min_p": 0.05, "typical_p": 0.7}
COMBINATIONS = [
    {name: FILTERS[name] for name in names}
    for count in range(5)
    for names in itertools.combinations(FILTERS, count)
]


def draws(params: SamplingParams, logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """How often each token comes in a long sequence that always has the same logits."""
    counts = np.zeros(len(logits), dtype=np.int64)
    sampler = Sampler(params, len(logits))
    for _ in range(DRAWS):
        token = sampler.pick(logits)
        sampler.add(token)
        counts[token] += 1
    return counts


@pytest.mark.parametrize("filters", COMBINATIONS, ids=lambda found: "+".join(found) or "none")
def test_the_distribution_is_the_one_defined(filters: dict[str, Any]) -> None:
    logits = logits_of(seed=11)
    params = SamplingParams(temperature=0.8, seed=COMBINATIONS.index(filters), **filters)
    expected = reference(logits, temperature=0.8, **filters)
    assert (expected > 0).sum() < VOCAB or not filters, "the filters must remove something"
    assert_distributed(draws(params, logits), expected)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_first_tokens_of_many_seeds_are_distributed_as_well(temperature: float) -> None:
    logits = logits_of(seed=12)
    counts = np.zeros(VOCAB, dtype=np.int64)
    for seed in range(DRAWS):
        params = SamplingParams(temperature=temperature, seed=seed)
        counts[Sampler(params, VOCAB).pick(logits)] += 1
    assert_distributed(counts, reference(logits, temperature=temperature))


def assert_distributed(counts: NDArray[np.int64], expected: NDArray[np.float64]) -> None:
    assert not counts[expected == 0].any(), "a token was drawn that filters remove"
    # The test wants at least five expected draws in a class: what is rarer is one class.
    wanted = expected * counts.sum()
    common = wanted >= 5
    found = [*counts[common], counts[~common].sum()]
    due = [*wanted[common], wanted[~common].sum()]
    classes = [(f, d) for f, d in zip(found, due, strict=True) if d > 0]
    chi_square = sum((f - d) ** 2 / d for f, d in classes)
    assert passes(chi_square, max(1, len(classes) - 1))


def test_the_chi_square_test_finds_a_wrong_temperature() -> None:
    logits = logits_of(seed=11)
    counts = draws(SamplingParams(temperature=0.65, seed=0), logits)
    with pytest.raises(AssertionError):
        assert_distributed(counts, reference(logits, temperature=0.6))


def test_a_draw_is_the_inverse_of_the_distribution_over_ascending_ids() -> None:
    logits = logits_of(seed=13)
    sums = reference(logits, temperature=0.9).cumsum()
    for seed in range(200):
        sampler = Sampler(SamplingParams(temperature=0.9, seed=seed), VOCAB)
        sampler.add(0)
        assert sampler.pick(logits) == int((sums <= uniform(seed, 1)).sum())


def test_greedy_takes_the_most_likely_and_of_equals_the_first() -> None:
    logits = np.array([1, 5, 2, 5], dtype=np.float32)
    assert Sampler(SamplingParams(top_k=1, top_p=0.1, seed=3), 4).pick(logits) == 1


def test_picking_changes_nothing_and_adding_does() -> None:
    logits = logits_of(seed=14)
    sampler = Sampler(SamplingParams(temperature=2.0, seed=1, frequency_penalty=0.5), VOCAB)
    picks = []
    for _ in range(6):
        picks.append(sampler.pick(logits))
        assert sampler.pick(logits) == picks[-1]
        sampler.add(picks[-1])
    assert len(set(picks)) > 1


def test_without_a_seed_sequences_differ() -> None:
    logits = np.zeros(1 << 16, dtype=np.float32)
    params = SamplingParams(temperature=1.0)
    assert len({Sampler(params, 1 << 16).pick(logits) for _ in range(8)}) > 1


def test_penalties_and_biases_are_exact_and_in_order() -> None:
    logits = np.array([4.0, 3.0, -2.0, 3.5, 0.0, 1.0], dtype=np.float32)
    params = SamplingParams(
        repetition_penalty=2.0,
        presence_penalty=0.25,
        frequency_penalty=0.5,
        logit_bias={0: -1.0, 4: 1.75},
    )
    # Prompt 0 and 2, then 1, 1: what is left is computed by hand.
    sampler = Sampler(params, 6, prompt=[0, 2])
    for token in (1, 1):
        sampler.add(token)
    expected = [4 / 2 - 1, 3 / 2 - 0.25 - 2 * 0.5, -2 * 2, 3.5, 0 + 1.75, 1]
    order = []
    for _ in range(6):
        banned = tuple(order)
        probe = Sampler(
            SamplingParams(**{**vars(params), "suppress_tokens": banned}), 6, prompt=[0, 2]
        )
        for token in (1, 1):
            probe.add(token)
        order.append(probe.pick(logits))
    assert order == sorted(range(6), key=lambda i: -expected[i])


def test_penalized_scores_are_drawn_from() -> None:
    logits = logits_of(seed=15)
    params = {"repetition_penalty": 1.5, "presence_penalty": 0.5, "frequency_penalty": 0.25}
    prompt, text, bias = [1, 2], [3, 3, 4], {5: 1.0, 6: -math.inf}
    scores = logits.astype(np.float64)
    for i in {*prompt, *text}:
        scores[i] = scores[i] * 1.5 if scores[i] < 0 else scores[i] / 1.5
    for i in set(text):
        scores[i] -= 0.5 + 0.25 * text.count(i)
    scores[5] += 1.0
    weights = np.exp(scores)
    weights[6] = 0
    sums = (weights / weights.sum()).cumsum()
    for seed in range(300):
        sampler = Sampler(
            SamplingParams(temperature=1.0, seed=seed, logit_bias=bias, **params), VOCAB, prompt
        )
        for token in text:
            sampler.add(token)
        assert sampler.pick(logits) == int((sums <= uniform(seed, 3)).sum())


def test_ends_are_banned_until_there_are_enough_tokens() -> None:
    logits = np.array([0, 9, 1], dtype=np.float32)
    sampler = Sampler(SamplingParams(min_new_tokens=2), 3, ends={1})
    picks = []
    for _ in range(3):
        picks.append(sampler.pick(logits))
        sampler.add(picks[-1])
    assert picks == [2, 2, 1]


@pytest.mark.parametrize("kind", [list, set, np.array, "mask"])
def test_only_allowed_tokens_are_chosen(kind: Any) -> None:
    logits, told = logits_of(seed=16), []

    def allowed(tokens: Any) -> Any:
        told.append(list(tokens))
        ids = [len(tokens), 30]
        return np.isin(np.arange(VOCAB), ids) if kind == "mask" else kind(ids)

    sampler = Sampler(SamplingParams(allowed_tokens=allowed), VOCAB)
    text: list[int] = []
    for step in range(4):
        text.append(sampler.pick(logits))
        sampler.add(text[-1])
        assert text[-1] == max((step, 30), key=lambda i: logits[i])
    assert told == [text[:n] for n in range(4)]


def test_allowing_none_is_no_restriction_and_allowing_nothing_an_error() -> None:
    logits = logits_of(seed=17)
    free = Sampler(SamplingParams(allowed_tokens=lambda _: None), VOCAB)
    assert free.pick(logits) == logits.argmax()
    for temperature in (0.0, 1.0):
        params = SamplingParams(allowed_tokens=lambda _: [], temperature=temperature)
        with pytest.raises(InputError, match="no token is left to choose: allowed_tokens"):
            Sampler(params, VOCAB).pick(logits)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.ones(VOCAB - 1, dtype=np.bool_), r"mask of shape \[39\], expected \[40\]"),
        ([3, VOCAB], f"what allowed_tokens gave, token 1: {VOCAB} is not a token id"),
        ([True], "what allowed_tokens gave, token 0: True is not"),
        (7, "what allowed_tokens gave is 7, expected a sequence of token ids"),
    ],
)
def test_what_a_callback_may_not_give(answer: Any, message: str) -> None:
    sampler = Sampler(SamplingParams(allowed_tokens=lambda _: answer), VOCAB)
    with pytest.raises(InputError, match=message):
        sampler.pick(logits_of(seed=18))


def test_logits_of_minus_infinity_are_never_drawn() -> None:
    logits = np.full(VOCAB, -np.inf, dtype=np.float32)
    logits[[4, 9]] = [1.0, 1.5]
    for seed in range(50):
        params = SamplingParams(temperature=1.0, seed=seed, typical_p=0.9, top_p=0.99, top_k=30)
        assert Sampler(params, VOCAB).pick(logits) in (4, 9)


@pytest.mark.parametrize("filters", COMBINATIONS, ids=lambda found: "+".join(found) or "none")
def test_however_cold_one_of_the_most_likely_is_drawn(filters: dict[str, Any]) -> None:
    logits = logits_of(seed=20)
    logits[[8, 31]] = logits.max() + 1
    drawn = {
        Sampler(SamplingParams(temperature=1e-310, seed=seed, **filters), VOCAB).pick(logits)
        for seed in range(40)
    }
    assert drawn == {8, 31}


def test_log_probabilities() -> None:
    logits = logits_of(seed=19)
    logits[7] = logits[3] = logits.max() + 1
    exact = logits.astype(np.float64) - math.log(math.fsum(map(math.exp, logits.tolist())))
    chosen, top = log_probabilities(logits, 20, 5)
    assert chosen == pytest.approx(exact[20], rel=1e-12)
    assert [token for token, _ in top] == sorted(range(VOCAB), key=lambda i: (-logits[i], i))[:5]
    assert [token for token, _ in top][:2] == [3, 7]
    assert [p for _, p in top] == pytest.approx([exact[token] for token, _ in top], rel=1e-12)
    assert log_probabilities(logits, 20, 0) == (chosen, ())
    assert len(log_probabilities(logits, 20, VOCAB)[1]) == VOCAB
    logits[5:] = -np.inf
    assert len(log_probabilities(logits, 4, 10)[1]) == 5
