"""A round of a benchmark, run by an engine whose every call takes a known time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from deltaport.bench import rounds
from deltaport.bench.rounds import Load, check_fits, run_round
from deltaport.errors import CapacityError
from deltaport.runtime import Engine

VOCAB = 11
OPENING, PREFILL, DECODE = 0.25, 2.0, 0.5


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeSession:
    """Says that token i of its row is followed by i + 1; takes time by the clock."""

    def __init__(self, clock: Clock, context: int | None, most: int) -> None:
        self._clock = clock
        self.context = most if context is None else context
        self.prompts: list[list[int]] = []
        self.decoded: list[list[int]] = []

    def prefill(self, prompts: list[list[int]]) -> list[Any]:
        self._clock.now += PREFILL
        self.prompts = prompts
        return self._logits([prompt[-1] for prompt in prompts])

    def decode(self, tokens: list[int]) -> list[Any]:
        self._clock.now += DECODE * (1 + len(self.decoded))
        self.decoded.append(tokens)
        return self._logits(tokens)

    def _logits(self, tokens: list[int]) -> list[Any]:
        return [np.eye(VOCAB, dtype=np.float32)[(token + 1) % VOCAB] for token in tokens]


class FakeEngine:
    def __init__(self, clock: Clock, most: int = 64) -> None:
        self._clock = clock
        self.manifest = SimpleNamespace(vocab_size=VOCAB, longest_context=most)
        self.sessions: list[FakeSession] = []

    def session(self, sequences: int = 1, *, context: int | None = None) -> FakeSession:
        self._clock.now += OPENING
        session = FakeSession(self._clock, context, self.manifest.longest_context)
        self.sessions.append(session)
        return session


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    clock = Clock()
    monkeypatch.setattr(rounds.time, "perf_counter", clock)
    return FakeEngine(clock)


def test_what_is_timed(engine: FakeEngine) -> None:
    load = Load(prompt_tokens=7, new_tokens=4, sequences=3, context=None)
    found = run_round(cast("Engine", engine), load)
    assert found.first_token == OPENING + PREFILL
    assert found.prefill == PREFILL
    assert found.steps == (DECODE, 2 * DECODE, 3 * DECODE), "the first token needs no step"
    assert found.memory.peak > 0


def test_prompts_are_random_but_the_same_every_round(engine: FakeEngine) -> None:
    load = Load(prompt_tokens=40, new_tokens=3, sequences=2, context=None)
    for _ in range(2):
        run_round(cast("Engine", engine), load)
    first, second = (session.prompts for session in engine.sessions)
    assert first == second
    assert [len(prompt) for prompt in first] == [40, 40]
    assert first[0] != first[1]
    assert set(first[0] + first[1]) == set(range(VOCAB)), "all ids there are, and no other"


def test_each_token_follows_the_one_before(engine: FakeEngine) -> None:
    run_round(cast("Engine", engine), Load(2, 4, 2, None))
    [session] = engine.sessions
    last = np.array([prompt[-1] for prompt in session.prompts])
    assert session.decoded == [list((last + i) % VOCAB) for i in (1, 2, 3)]


def test_length_is_the_mean_over_the_steps() -> None:
    # Steps read 11, 12 and 13 tokens: the prompt, the new ones before, and their own.
    assert Load(prompt_tokens=10, new_tokens=4, sequences=1, context=None).length() == 12


@pytest.mark.parametrize(
    ("context", "remedy"),
    [(None, "--new-tokens"), (64, "--new-tokens"), (10, "--new-tokens, or a higher --context")],
)
def test_what_does_not_fit(engine: FakeEngine, context: int | None, remedy: str) -> None:
    with pytest.raises(CapacityError, match=rf"need a context of 65, .* or {remedy}$"):
        check_fits(Load(60, 5, 1, context), cast("Engine", engine))


def test_what_just_fits(engine: FakeEngine) -> None:
    check_fits(Load(60, 4, 1, None), cast("Engine", engine))
    check_fits(Load(6, 4, 1, 10), cast("Engine", engine))
