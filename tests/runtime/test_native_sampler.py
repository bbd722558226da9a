"""The native sampler chooses as its Python reference does, processor by processor and together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deltaport.errors import InputError
from deltaport.runtime import _native as native
from deltaport.runtime.sampling_params import SamplingParams
from tests.oracles import logits_processors as lp
from tests.oracles import sampler as reference

LARGE = 250_000
KINDS = ("random", "ties", "flat", "peaked", "banned")
SEEDS = st.integers(0, 2**32 - 1)


def scores_of(size: int, seed: int, kind: str) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=size) * 3
    if kind == "ties":  # of steps so coarse that most values occur several times
        scores = np.round(scores)
    elif kind == "flat":
        scores = np.zeros(size)
    elif kind == "peaked":
        scores[rng.integers(size)] += 30
    elif kind == "banned":
        scores[rng.random(size) < 0.5] = -np.inf
        scores[rng.integers(size)] = 1.0
    return scores


def logits_of(size: int, seed: int, kind: str) -> NDArray[np.float32]:
    return scores_of(size, seed, kind).astype(np.float32)


@st.composite
def rows(draw: st.DrawFn, kinds: Sequence[str] = KINDS) -> NDArray[np.float64]:
    return scores_of(draw(st.integers(1, 3000)), draw(SEEDS), draw(st.sampled_from(kinds)))


def some_ids(rng: np.random.Generator, size: int) -> NDArray[np.int64]:
    """Distinct ids, at times none."""
    count = int(rng.integers(min(size, 50) + 1))
    return rng.choice(size, count, replace=False).astype(np.int64)


def same_numbers(found: Any, expected: Any) -> None:
    """But for the rounding of sums and of exponential functions."""
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


def large(kind: str) -> NDArray[np.float64]:
    return scores_of(LARGE, 5, kind)


finite = rows([kind for kind in KINDS if kind != "banned"])
FINITE_LARGE = [large(kind) for kind in KINDS if kind != "banned"]


# --- processors of all scores


@given(rows(), SEEDS, st.floats(0.01, 100))
def test_repetition_penalty(scores: NDArray[np.float64], seed: int, penalty: float) -> None:
    seen = some_ids(np.random.default_rng(seed), len(scores))
    found = native.penalize_repetition(scores, seen, penalty)
    np.testing.assert_array_equal(found, lp.penalize_repetition(scores, seen, penalty))


@given(rows(), SEEDS, st.floats(-100, 100), st.floats(-100, 100))
def test_presence_and_frequency_penalties(
    scores: NDArray[np.float64], seed: int, presence: float, frequency: float
) -> None:
    rng = np.random.default_rng(seed)
    ids = some_ids(rng, len(scores))
    counts = rng.integers(1, 100, len(ids))
    same_numbers(
        native.penalize_presence_and_frequency(scores, ids, counts, presence, frequency),
        lp.penalize_presence_and_frequency(scores, ids, counts, presence, frequency),
    )


@given(rows(), SEEDS)
def test_bias(scores: NDArray[np.float64], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = some_ids(rng, len(scores))
    biases = np.where(rng.random(len(ids)) < 0.2, -np.inf, rng.normal(size=len(ids)))
    found = native.add_bias(scores, ids, biases)
    np.testing.assert_array_equal(found, lp.add_bias(scores, ids, biases))


@given(rows(), SEEDS)
def test_bans(scores: NDArray[np.float64], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids, mask = some_ids(rng, len(scores)), rng.random(len(scores)) < 0.3
    np.testing.assert_array_equal(native.ban(scores, ids), lp.ban(scores, ids))
    np.testing.assert_array_equal(native.ban(scores, mask), lp.ban(scores, mask))


@given(rows(), st.floats(1e-310, 1e6))
def test_temperature(scores: NDArray[np.float64], temperature: float) -> None:
    found = native.apply_temperature(scores, temperature)
    np.testing.assert_array_equal(found, lp.apply_temperature(scores, temperature))


@given(rows())
def test_softmax(scores: NDArray[np.float64]) -> None:
    same_numbers(native.softmax(scores), lp.softmax(scores))


# --- filters


@given(rows(), st.integers(1, 4000))
def test_top_k(scores: NDArray[np.float64], k: int) -> None:
    np.testing.assert_array_equal(native.in_top_k(scores, k), lp.in_top_k(scores, k))


@pytest.mark.parametrize("k", [1, 20, 3906, 3907, 100_000, LARGE - 1, LARGE])
@pytest.mark.parametrize("kind", KINDS)
def test_top_k_of_a_large_vocabulary(kind: str, k: int) -> None:
    scores = large(kind)
    np.testing.assert_array_equal(native.in_top_k(scores, k), lp.in_top_k(scores, k))


def masses() -> st.SearchStrategy[float]:
    """Any but round ones, at which the last digit of a sum decides."""
    return SEEDS.map(lambda seed: float(np.random.default_rng(seed).random()))


@pytest.mark.parametrize("name", ["in_top_p", "in_min_p", "in_typical_p"])
@given(finite, masses())
def test_filter(name: str, scores: NDArray[np.float64], p: float) -> None:
    np.testing.assert_array_equal(getattr(native, name)(scores, p), getattr(lp, name)(scores, p))


@pytest.mark.parametrize("p", [1e-9, 0.1234567, 0.7654321, 0.9567891])
@pytest.mark.parametrize("name", ["in_top_p", "in_min_p", "in_typical_p"])
def test_filter_of_a_large_vocabulary(name: str, p: float) -> None:
    for scores in FINITE_LARGE:
        expected = getattr(lp, name)(scores, p)
        np.testing.assert_array_equal(getattr(native, name)(scores, p), expected)


@pytest.mark.parametrize(("name", "p"), [("in_top_p", 0.0), ("in_min_p", 0.0), ("in_min_p", 1.0)])
@given(scores=finite)
def test_filter_at_its_bounds(name: str, p: float, scores: NDArray[np.float64]) -> None:
    np.testing.assert_array_equal(getattr(native, name)(scores, p), getattr(lp, name)(scores, p))


# --- the largest


@given(st.integers(1, 5000), SEEDS, st.sampled_from(KINDS), st.booleans())
def test_largest(size: int, seed: int, kind: str, with_nan: bool) -> None:
    logits = logits_of(size, seed, kind)
    if with_nan:
        rng = np.random.default_rng(seed)
        logits[rng.integers(size, size=3)] = np.nan
    index, value = native.largest(logits)
    assert index == logits.argmax()
    np.testing.assert_equal(np.float32(value), logits[index])


@pytest.mark.parametrize("at", [0, 1, 31, 32, 2047, 2048, 100_001, LARGE - 1])
@pytest.mark.parametrize("value", [50.0, np.inf, np.nan])
def test_largest_of_a_large_vocabulary(at: int, value: float) -> None:
    logits = logits_of(LARGE, 1, "random")
    logits[at] = value
    assert native.largest(logits)[0] == at
    logits[at:] = value
    assert native.largest(logits)[0] == at


def test_largest_where_all_are_equal() -> None:
    for value in (-np.inf, np.inf, 0.0, np.nan):
        assert native.largest(np.full(5000, value, np.float32))[0] == 0
    assert native.largest(np.array([-0.0, 0.0], np.float32))[0] == 0


# --- random numbers


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**63, 2**64 - 1])
@pytest.mark.parametrize("index", [0, 1, 2, 1000, 2**32, 2**63])
def test_uniform(seed: int, index: int) -> None:
    assert native.uniform(seed, index) == reference.uniform(seed, index)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**62))
def test_uniform_of_any_seed(seed: int, index: int) -> None:
    assert native.uniform(seed, index) == reference.uniform(seed, index)


# --- log-probabilities


@given(st.integers(1, 3000), SEEDS, st.sampled_from(KINDS), st.integers(0, 40))
def test_log_probabilities(size: int, seed: int, kind: str, count: int) -> None:
    same_log_probabilities(logits_of(size, seed, kind), seed % size, min(count, size))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 20, 5000])
def test_log_probabilities_of_a_large_vocabulary(kind: str, count: int) -> None:
    same_log_probabilities(logits_of(LARGE, 3, kind), 77, count)


def same_log_probabilities(logits: NDArray[np.float32], token: int, count: int) -> None:
    chosen, top = native.log_probabilities(logits, token, count)
    expected_chosen, expected_top = reference.log_probabilities(logits, token, count)
    same_numbers(chosen, expected_chosen)
    assert [i for i, _ in top] == [i for i, _ in expected_top]
    same_numbers([x for _, x in top], [x for _, x in expected_top])


# --- the whole sampler


def native_params(params: SamplingParams) -> Any:
    return native.SamplingParams(
        min_new_tokens=params.min_new_tokens,
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        min_p=params.min_p,
        typical_p=params.typical_p,
        repetition_penalty=params.repetition_penalty,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        logit_bias=dict(params.logit_bias),
        suppress_tokens=params.suppress_tokens,
        seed=params.seed,
    )


def random_params(rng: np.random.Generator, size: int) -> dict[str, Any]:
    """Every field on or off by chance."""
    choices: dict[str, Any] = {
        "min_new_tokens": int(rng.integers(1, 6)),
        "temperature": float(rng.choice([1e-300, 0.3, 0.7, 1.0, 2.0, 50.0])),
        "top_k": int(rng.integers(1, 60)),
        "top_p": float(rng.random()),
        "min_p": float(rng.random()) ** 3,
        "typical_p": float(rng.random()),
        "repetition_penalty": float(rng.choice([0.5, 1.1, 2.0])),
        "presence_penalty": float(rng.normal()),
        "frequency_penalty": float(rng.normal()),
        "logit_bias": {
            int(i): -np.inf if rng.random() < 0.2 else float(rng.normal() * 3)
            for i in some_ids(rng, size)
        },
        "suppress_tokens": tuple(int(i) for i in some_ids(rng, size)),
    }
    chosen = {name: value for name, value in choices.items() if rng.random() < 0.4}
    return {**chosen, "seed": int(rng.integers(2**64, dtype=np.uint64))}


def picked(pick: Callable[..., int], *args: Any) -> int | str:
    """The token, or the message of what was thrown."""
    try:
        return pick(*args)
    except InputError as error:
        return str(error)


@settings(max_examples=300)
@given(st.integers(1, 3000), SEEDS, st.sampled_from(KINDS))
def test_sequence(size: int, seed: int, kind: str) -> None:
    same_sequence(size, seed, kind, steps=6)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", KINDS)
def test_sequence_of_a_large_vocabulary(kind: str, seed: int) -> None:
    same_sequence(LARGE, seed, kind, steps=2)


def same_sequence(size: int, seed: int, kind: str, steps: int) -> None:
    rng = np.random.default_rng(seed)
    prompt = [int(i) for i in rng.integers(size, size=rng.integers(6))]
    ends = sorted(int(i) for i in some_ids(rng, size))
    masked = rng.random() < 0.3
    mask: NDArray[np.bool_] | None = None
    fields = random_params(rng, size)
    params = SamplingParams(**fields, allowed_tokens=(lambda _: mask) if masked else None)
    ours = native.Sampler(native_params(params), size, prompt, ends)
    theirs = reference.Sampler(params, size, prompt, ends)
    for step in range(steps):
        logits = logits_of(size, seed + step, kind)
        mask = rng.random(size) < 0.5 if masked else None
        token = picked(ours.pick, logits, mask)
        assert token == picked(ours.pick, logits, mask)
        assert token == picked(theirs.pick, logits)
        if isinstance(token, str):
            token = int(rng.integers(size))
        ours.add(token)
        theirs.add(token)
        assert ours.new_tokens[-1] == token
    assert len(ours.new_tokens) == steps


def test_sequences_without_a_seed_differ() -> None:
    params = native.SamplingParams(temperature=1.0)
    logits = np.zeros(LARGE, np.float32)
    tokens = {native.Sampler(params, LARGE, [], []).pick(logits) for _ in range(20)}
    assert len(tokens) > 10


def test_nothing_left_to_choose() -> None:
    logits = np.zeros(3, np.float32)
    sampler = native.Sampler(native.SamplingParams(suppress_tokens=[0, 1, 2]), 3, [], [])
    with pytest.raises(InputError, match=r"^no token is left to choose: allowed_tokens, .*one$"):
        sampler.pick(logits)
    sampler = native.Sampler(native.SamplingParams(), 3, [], [])
    with pytest.raises(InputError, match="no token is left to choose"):
        sampler.pick(logits, np.zeros(3, np.bool_))


# --- parameters


@pytest.mark.parametrize("field", ["logit_bias", "suppress_tokens", "stop_token_ids"])
def test_token_ids_beyond_the_vocabulary(field: str) -> None:
    value: Any = {99: 1.0} if field == "logit_bias" else [99]
    native.SamplingParams(**{field: value}).check(100)
    with pytest.raises(InputError) as found:
        native.SamplingParams(**{field: value}).check(24)
    with pytest.raises(InputError) as expected:
        SamplingParams(**{field: value}).check_ids(24)
    assert str(found.value) == str(expected.value)
    assert str(found.value) == f"{field}, token 0: 99 is not a token id below 24"


def test_more_log_probabilities_than_tokens() -> None:
    native.SamplingParams(logprobs=24).check(24)
    with pytest.raises(InputError) as found:
        native.SamplingParams(logprobs=25).check(24)
    with pytest.raises(InputError) as expected:
        SamplingParams(logprobs=25).check_ids(24)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_new_tokens", -1),
        ("min_new_tokens", -1),
        ("temperature", -0.5),
        ("temperature", float("nan")),
        ("temperature", 2e6),
        ("top_k", -3),
        ("top_p", 1.5),
        ("min_p", -1e-5),
        ("typical_p", 0.0),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", float("inf")),
        ("presence_penalty", -1e16),
        ("frequency_penalty", 123456789.0),
        ("logit_bias", {5: float("inf")}),
    ],
)
def test_fields_out_of_range(field: str, value: Any) -> None:
    with pytest.raises(InputError) as found:
        native.SamplingParams(**{field: value}).check(24)
    with pytest.raises(InputError) as expected:
        SamplingParams(**{field: value})
    assert str(found.value) == str(expected.value)


def test_everything_can_be_given() -> None:
    params = native.SamplingParams(
        max_new_tokens=None,
        seed=None,
        logprobs=None,
        ignore_eos=True,
        stop_token_ids=(1, 2),
        logit_bias=[(3, -np.inf), (4, 1.0)],
    )
    params.check(24)
    logits = np.zeros(24, np.float32)
    assert native.Sampler(params, 24, [], []).pick(logits) == 4
