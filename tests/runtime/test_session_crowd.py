"""Hundreds of sequences in one session, at random, leave nothing behind."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from deltaport.errors import EngineError, InputError, StepCancelledError
from deltaport.runtime import Generation, PrefixCache, Session, Snapshot
from tests.runtime.session_model import FREE, leftover, unchanged
from tests.runtime.toy_engine import POISON, toy_tokens
from tests.runtime.toy_variants import VARIANTS, WIDE_VARIANT, open_toy

T = TypeVar("T")


class Crowd:
    """Greedy sequences in one session, and of each how many of its tokens were given to it."""

    def __init__(self, session: Session, seed: int, *, prompt: int, chunk_size: int) -> None:
        self.session = session
        self.random = random.Random(seed)
        self.generation = Generation(session, chunk_size=chunk_size)
        self.given: dict[int, int] = {}
        self.snapshots: list[tuple[Snapshot, int]] = []
        self.opened = self.most = self.steps = self.rewound = 0
        self.stems = [self.tokens(prompt) for _ in range(5)]

    def do_something(self) -> None:
        weights = {
            self.step: 10,
            self.open: 6 if len(self.given) < 200 else 0,
            self.decode: 6,
            self.go_on: 6,
            self.cancel: 3,
            self.fork: 2,
            self.snapshot: 2,
            self.restore: 2,
            self.rewind: 2,
            self.close: 4,
            self.cancel_a_step: 1,
            self.fail_a_step: 1,
        }
        (chosen,) = self.random.choices([*weights], [*weights.values()])
        chosen()
        assert self.session.native.broken() == ""
        self.most = max(self.most, len(self.given))

    @property
    def idle(self) -> list[int]:
        return sorted(self.given.keys() - set(self.generation.live))

    def some(self, given: Sequence[T], most: int = 1) -> list[T]:
        return self.random.sample(given, min(len(given), self.random.randint(1, most)))

    def tokens(self, most: int) -> list[int]:
        return [self.random.randrange(POISON) for _ in range(self.random.randint(1, most))]

    def start(self, row: int, prompt: list[int]) -> None:
        if prompt:
            self.given[row] = self.session.native.count(row) + len(prompt)
        new = self.random.randint(1, 40)
        self.generation.start(row, prompt, replace(FREE, max_new_tokens=new))

    def open(self) -> None:
        self.opened += 1
        stem = self.random.choice(self.stems)
        more = self.tokens(len(stem)) if self.random.random() < 0.5 else []
        self.start(self.session.open_row(), stem + more)

    def step(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            self.generation.step()
            self.steps += 1

    def decode(self) -> None:
        tokens: list[int | None] = [None] * self.session.sequences
        for row in self.some(self.idle, 40):
            logits = self.session.native.logits(row)
            if logits is not None:
                tokens[row] = int(logits.argmax())
        self.session.decode(tokens)
        self.steps += 1

    def go_on(self) -> None:
        for row in self.some(self.idle, 10):
            if self.session.native.count(row) > 300:
                self.end(row)
            else:
                self.start(row, [] if self.random.random() < 0.7 else self.tokens(5))

    def cancel(self) -> None:
        for row in self.some(self.generation.live, 5):
            self.generation.cancel(row)

    def fork(self) -> None:
        for row in self.some([*self.given]):
            self.opened += 1
            self.start(self.session.fork(row), self.tokens(3))

    def snapshot(self) -> None:
        for row in self.some([*self.given]):
            self.snapshots = [*self.snapshots[-9:], (self.session.snapshot(row), self.given[row])]

    def restore(self) -> None:
        for row in self.some(self.idle):
            for snapshot, given in self.some(self.snapshots):
                self.check(row)
                self.session.restore(row, snapshot)
                self.given[row] = given

    def rewind(self) -> None:
        """To somewhere after what was given to it, by a snapshot or by a prompt that was kept."""
        for row in self.some(self.idle):
            given, held = self.given[row], self.session.native.count(row)
            self.check(row)
            snapshots = [snapshot for snapshot, _ in self.some(self.snapshots, 10)]
            try:
                self.session.rewind(row, self.random.randint(given, held), snapshots)
                self.rewound += 1
            except InputError:
                assert self.session.native.count(row) == held

    def cancel_a_step(self) -> None:
        for row in self.some(self.idle):
            self.session.cancel()
            self.come_to_nothing(row, 1, StepCancelledError)

    def fail_a_step(self) -> None:
        for row in self.some(self.idle):
            self.come_to_nothing(row, POISON, EngineError)

    def come_to_nothing(self, row: int, token: int, error: type[Exception]) -> None:
        with unchanged(self.session, error, "step"):
            self.session.decode(
                [token if at == row else None for at in range(self.session.sequences)]
            )

    def close(self) -> None:
        for row in self.some(self.idle):
            self.end(row)

    def end(self, row: int) -> None:
        self.check(row)
        self.session.close_row(row)
        del self.given[row]

    def check(self, row: int) -> None:
        tokens, given = self.session.native.tokens(row), self.given[row]
        assert tokens[given:] == toy_tokens(tokens[:given], len(tokens) - given, ())


@pytest.mark.parametrize("variant", ["caches that double", "caches reserved whole", "wide"])
def test_a_crowd_of_sequences(variant: str, tmp_path: Path) -> None:
    wide = variant == "wide"
    engine = open_toy(tmp_path, **(WIDE_VARIANT if wide else VARIANTS[variant]))
    prefixes = PrefixCache(20_000, min_tokens=4)
    session = engine.session(context=500, prefixes=prefixes)
    at_first = session.native.resident_bytes()
    # At some time so long that each row of caches that double has pages of its own.
    session.prefill([[1] * 500])
    session.close()
    crowd = Crowd(session, seed=1, prompt=150 if wide else 20, chunk_size=8)
    for _ in range(300 if wide else 2500):
        crowd.do_something()
    for row in crowd.generation.live:
        crowd.generation.cancel(row)
    for row in [*crowd.given]:
        crowd.end(row)
    if not wide:
        assert crowd.opened > 200
        assert crowd.most > 60
        assert crowd.rewound > 20
        assert prefixes.usage().hits > 20
    assert session.native.resident_bytes() <= at_first + leftover(session)


def test_a_row_that_is_moved_leaves_no_pages_behind(tmp_path: Path) -> None:
    session = open_toy(tmp_path, **WIDE_VARIANT).session(4, context=500)
    session.prefill([[1, 2], [3, 4], [5, 6], [7, 8]])
    session.close_row(1)
    session.decode([1, None, 1, 1])  # side by side: the last one moves to where row 1 was
    session.close()
    assert session.native.resident_bytes() <= leftover(session)
