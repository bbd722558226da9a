"""Whatever is done to the rows of a session, in any order, each is what it would be alone."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deltaport.errors import EngineError, InputError, StepCancelledError
from deltaport.exporter.export import export_checkpoint
from deltaport.runtime import Engine, Generation, SamplingParams, Session, Snapshot
from deltaport.state_layout import CAPACITY, StateLayout
from tests.checkpoints import VOCAB_SIZE, save_checkpoint
from tests.runtime.toy_engine import (
    EOS,
    GRAPH,
    LAYOUT,
    POISON,
    toy_logits,
    toy_tokens,
    write_toy,
)

CACHE, RECURRENT = LAYOUT.tensors
T = TypeVar("T")
PAGE = 4096
MOST_ROWS = 7
FREE = SamplingParams(max_new_tokens=6, ignore_eos=True)
TOKENS = st.integers(0, POISON - 1)
PROMPTS = st.lists(TOKENS, max_size=9)
CHUNKS = st.sampled_from([1, 2, 3, 5, 512])

# Columns of a whole page, so that a few dozen tokens are moved by their pages.
WIDE = 1024
WIDE_GRAPH = (
    GRAPH.replace("[batch,1,capacity,1]", f"[batch,1,capacity,{WIDE}]")
    .replace("x_new = Unsqueeze(embedded, x_axes)",
             "x_one = Unsqueeze(embedded, x_axes)\n    x_new = Expand(x_one, wide)")
    .replace('cache = Reshape("present.0.key", columns_only)',
             'cache_one = Gather<axis = 3>("present.0.key", zero)\n'
             "    cache = Reshape(cache_one, columns_only)")
    .replace("int64 zero = {0},", f"int64 zero = {{0}}, int64[4] wide = {{1, 1, 1, {WIDE}}},")
)  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "caches that double": {},
    "caches reserved whole": {"target": "ort-cpu"},
    "no ragged steps": {"ragged": False},
    "caches that are swapped": {"state": StateLayout((replace(CACHE, update="swap"), RECURRENT))},
}
WIDE_VARIANT: dict[str, Any] = {
    "graph": WIDE_GRAPH,
    "target": "ort-cpu",
    "state": StateLayout((replace(CACHE, shape=("slots", 1, "capacity", WIDE)), RECURRENT)),
}


def open_toy(folder: Path, **changes: Any) -> Engine:
    return Engine.open(write_toy(folder / "engine", **changes), threads=1)


@dataclass
class Model:
    """What a row must be."""

    tokens: list[int] = field(default_factory=list)
    seen: int = 0
    """Tokens that its state has seen."""
    bare: bool = False
    """Whether it has no logits: the step that was to give them failed."""

    def copy(self) -> Model:
        return replace(self, tokens=list(self.tokens))

    @property
    def has_logits(self) -> bool:
        return bool(self.tokens) and self.seen == len(self.tokens) and not self.bare

    def add(self, tokens: Sequence[int]) -> None:
        """All that it has is run."""
        self.tokens += tokens
        self.seen, self.bare = len(self.tokens), False


def check_row(session: Session, row: int, model: Model) -> None:
    """Tokens, logits, and every number of the state."""
    native = session.native
    assert native.tokens(row) == model.tokens
    assert native.length(row) == model.seen
    logits = native.logits(row)
    assert (logits is not None) == model.has_logits
    if logits is not None:
        np.testing.assert_array_equal(logits, toy_logits(model.tokens)[-1])
    seen = model.tokens[: model.seen]
    cache = native.pack(0, row, model.seen).view(np.float32)
    columns = np.repeat(np.array(seen, dtype=np.float32), len(cache) // max(len(seen), 1))
    assert np.array_equal(cache, columns)
    assert native.pack(1, row, model.seen).view(np.float32).tolist() == [sum(seen)]


@contextmanager
def unchanged(session: Session, error: type[Exception], message: str) -> Iterator[None]:
    before = session.tokens, session.lengths
    with pytest.raises(error, match=message):
        yield
    assert (session.tokens, session.lengths) == before


some_open = precondition(lambda self: self.rows)
some_idle = precondition(lambda self: self.idle)
some_live = precondition(lambda self: self.generation.live)
room_for_more = precondition(lambda self: len(self.rows) < MOST_ROWS)


class Rows(RuleBasedStateMachine):
    """A session beside plain lists of tokens, from which Python computes what each row must say."""

    engine: Engine
    folder: Path

    @initialize(count=st.integers(1, 3), chunk=st.sampled_from([None, 1, 3]))
    def begin(self, count: int, chunk: int | None) -> None:
        self.session = self.engine.session(count)
        self.other = self.engine.session()
        self.at_first = [s.native.resident_bytes() for s in (self.session, self.other)]
        self.rows = {row: Model() for row in range(count)}
        self.chunk = chunk or 512
        self.generation = Generation(self.session, chunk_size=chunk)
        self.owed: dict[int, list[int]] = {}
        """What live rows are still to say."""
        self.snapshots: list[tuple[Snapshot, Model]] = []

    # Rows come and go.

    @room_for_more
    @rule()
    def open_row(self) -> None:
        row = self.session.open_row()
        assert row == min(set(range(len(self.rows) + 1)) - set(self.rows))
        self.rows[row] = Model()

    @some_open
    @rule(data=st.data())
    def close_row(self, data: st.DataObject) -> None:
        row = self.leave(data)
        self.session.close_row(row)
        del self.rows[row]
        for refused in (self.session.close_row, self.session.fork, self.session.snapshot):
            with pytest.raises(InputError, match=f"row {row} is closed"):
                refused(row)
        with pytest.raises(InputError, match=f"row is {row}, which is not open"):
            self.session.native.fork(row)

    @room_for_more
    @some_open
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(sorted(self.rows)))
        made = self.session.fork(row)
        assert made not in self.rows
        self.rows[made] = self.rows[row].copy()

    @some_open
    @rule(data=st.data())
    def clear(self, data: st.DataObject) -> None:
        row = self.leave(data)
        self.session.clear(row)
        self.rows[row] = Model()

    @some_open
    @rule(data=st.data(), as_file=st.booleans())
    def snapshot(self, data: st.DataObject, as_file: bool) -> None:
        row = data.draw(st.sampled_from(sorted(self.rows)))
        snapshot = self.session.snapshot(row)
        if as_file:
            snapshot.save(self.folder / "snapshot")
            snapshot = Snapshot.load(self.folder / "snapshot", self.engine)
        self.snapshots.append((snapshot, self.rows[row].copy()))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data(), elsewhere=st.booleans(), token=TOKENS)
    def restore(self, data: st.DataObject, elsewhere: bool, token: int) -> None:
        snapshot, model = data.draw(st.sampled_from(self.snapshots))
        model = model.copy()
        if elsewhere or not self.rows:
            self.other.restore(0, snapshot)
            check_row(self.other, 0, model)
            (logits,) = self.other.decode([token])
            model.add([token])
            np.testing.assert_array_equal(logits, toy_logits(model.tokens)[-1])
            check_row(self.other, 0, model)
        else:
            row = self.leave(data)
            self.session.restore(row, snapshot)
            self.rows[row] = model

    # Steps.

    @some_idle
    @rule(data=st.data(), chunk_size=CHUNKS, kind=st.sampled_from(["last", "all"]))
    def prefill(self, data: st.DataObject, chunk_size: int, kind: Any) -> None:
        given = self.some_tokens(data)
        results = self.session.prefill(given, chunk_size=chunk_size, logits=kind)
        self.took(given, results, every=kind == "all")

    @some_idle
    @rule(data=st.data())
    def decode(self, data: st.DataObject) -> None:
        tokens = data.draw(self.per_row(st.none() | TOKENS))
        results = self.session.decode(tokens)
        self.took([None if token is None else [token] for token in tokens], results)

    @some_idle
    @precondition(lambda self: all(len(model.tokens) < 300 for model in self.rows.values()))
    @rule(data=st.data(), token=TOKENS)
    def outgrow_the_caches(self, data: st.DataObject, token: int) -> None:
        given: list[list[int] | None] = [None] * self.session.sequences
        given[data.draw(st.sampled_from(self.idle))] = [token] * 250
        self.took(given, self.session.prefill(given))

    @some_idle
    @rule(data=st.data(), chunk_size=CHUNKS, new=st.integers(0, 5), ending=st.booleans())
    def generate(self, data: st.DataObject, chunk_size: int, new: int, ending: bool) -> None:
        prompts = data.draw(self.per_row(st.none() | PROMPTS))
        prompts = [None if self.goes_nowhere(r, p) else p for r, p in enumerate(prompts)]
        params = SamplingParams(max_new_tokens=new, ignore_eos=not ending)
        found = self.session.generate(prompts, params, chunk_size=chunk_size)
        for row, (prompt, done) in enumerate(zip(prompts, found, strict=True)):
            if prompt is None:
                assert done.tokens == []
                continue
            model = self.rows[row]
            model.tokens += prompt
            self.ran(model)
            assert done.tokens == toy_tokens(model.tokens, new, (EOS,) if ending else ())
            self.said(model, done.tokens)

    @some_idle
    @rule(data=st.data(), seed=st.integers(0, 2**64 - 1))
    def sample(self, data: st.DataObject, seed: int) -> None:
        prompts = [
            None if self.goes_nowhere(row, prompt) else prompt
            for row, prompt in enumerate(data.draw(self.per_row(st.none() | PROMPTS)))
        ]
        params = self.sampled(seed)
        found = self.session.generate(prompts, params)
        for row, (prompt, done) in enumerate(zip(prompts, found, strict=True)):
            if prompt is None:
                continue
            model = self.rows[row]
            model.tokens += prompt
            self.ran(model)
            assert done.tokens == self.alone(model.tokens, params)
            self.said(model, done.tokens)

    @some_idle
    @rule(
        data=st.data(),
        prompt=PROMPTS,
        new=st.integers(0, 9),
        seed=st.none() | st.integers(0, 99),
    )
    def start(self, data: st.DataObject, prompt: list[int], new: int, seed: int | None) -> None:
        row = data.draw(st.sampled_from(self.idle))
        if self.goes_nowhere(row, prompt):
            return
        params = replace(FREE if seed is None else self.sampled(seed), max_new_tokens=new)
        model = self.rows[row]
        model.tokens += prompt
        self.generation.start(row, prompt, params)
        if model.tokens and (new or model.seen < len(model.tokens)):
            self.owed[row] = (
                toy_tokens(model.tokens, new, ()) if seed is None
                else self.alone(model.tokens, params)
            )  # fmt: skip

    @some_live
    @rule(count=st.integers(1, 4))
    def step(self, count: int) -> None:
        for _ in range(count):
            events = self.generation.step()
            said = {event.row: event for event in events}
            assert [event.row for event in events] == sorted(said)
            for row in list(self.owed):
                model = self.rows[row]
                if model.seen < len(model.tokens):
                    model.seen = min(len(model.tokens), model.seen + self.chunk)
                    model.bare = False
                assert (row in said) == (model.seen == len(model.tokens) and self.owed[row] != [])
                if row in said:
                    assert said[row].token == self.owed[row].pop(0)
                    model.tokens.append(said[row].token)
                    assert (said[row].finish_reason is not None) == (not self.owed[row])
                if not self.owed[row] and (row in said or model.seen == len(model.tokens)):
                    del self.owed[row]
            assert self.generation.live == sorted(self.owed)

    @some_live
    @rule(data=st.data())
    def cancel_row(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(self.generation.live))
        self.generation.cancel(row)
        del self.owed[row]

    # Steps that come to nothing.

    @some_idle
    @rule(data=st.data(), token=TOKENS)
    def cancel_a_prefill(self, data: st.DataObject, token: int) -> None:
        given = self.some_tokens(data)
        row = data.draw(st.sampled_from(self.idle))
        given[row] = [token, *(given[row] or [])]
        self.session.cancel()
        with unchanged(self.session, StepCancelledError, "step was cancelled"):
            self.session.prefill(given)

    @precondition(lambda self: any(self.rows[row].seen < len(self.rows[row].tokens)
                                   for row in self.owed))  # fmt: skip
    @rule()
    def cancel_a_step(self) -> None:
        self.session.cancel()
        with unchanged(self.session, StepCancelledError, "step was cancelled"):
            self.generation.step()
        assert self.generation.live == sorted(self.owed)

    @some_idle
    @rule(data=st.data(), chunk_size=CHUNKS)
    def fail_a_prefill(self, data: st.DataObject, chunk_size: int) -> None:
        given = self.some_tokens(data)
        row = data.draw(st.sampled_from(self.idle))
        given[row] = [*(given[row] or []), POISON]
        with pytest.raises(EngineError, match="a step failed: "):
            self.session.prefill(given, chunk_size=chunk_size)
        # What earlier steps have run stays.
        waiting = [*self.rows[row].tokens[self.rows[row].seen :], *(given[row] or [])]
        steps = waiting.index(POISON) // chunk_size
        for at, tokens in enumerate(given):
            if not tokens:
                continue
            model = self.rows[at]
            before, every = len(model.tokens), [*model.tokens, *tokens]
            seen = min(len(every), model.seen + steps * chunk_size)
            if seen > model.seen:
                model.bare = seen < len(every)
            model.seen, model.tokens = seen, every[: max(before, seen)]

    @some_idle
    @rule(data=st.data())
    def fail_a_step(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(self.idle))
        self.session.clear(row)
        self.rows[row] = Model([POISON])
        self.generation.start(row, [POISON], FREE)
        with unchanged(self.session, EngineError, "a step failed: "):
            self.generation.step()
        assert self.generation.live == sorted([*self.owed, row])
        self.generation.cancel(row)
        self.session.clear(row)
        self.rows[row] = Model()

    @some_live
    @rule(data=st.data(), token=TOKENS)
    def meddle_with_a_live_row(self, data: st.DataObject, token: int) -> None:
        row = data.draw(st.sampled_from(self.generation.live))
        given = [[token] if at == row else None for at in range(self.session.sequences)]
        self.took(given, self.session.prefill(given))
        with unchanged(self.session, InputError, f"row {row} was changed while it was generated"):
            self.generation.step()
        self.generation.cancel(row)
        del self.owed[row]

    # What always holds.

    @invariant()
    def all_is_well(self) -> None:
        if not hasattr(self, "session"):
            return
        native = self.session.native
        assert native.broken() == ""
        for row, model in self.rows.items():
            check_row(self.session, row, model)
        held = [self.rows.get(row, Model()) for row in range(self.session.sequences)]
        assert self.session.tokens == [model.tokens for model in held]
        assert self.session.lengths == [model.seen for model in held]

    def teardown(self) -> None:
        if not hasattr(self, "session"):
            return
        for row in self.generation.live:
            self.generation.cancel(row)
        new: list[list[int] | None] = [
            None if self.goes_nowhere(row, []) else [] for row in range(self.session.sequences)
        ]
        for row, done in enumerate(self.session.generate(new, FREE)):
            if new[row] is not None:
                assert done.tokens == toy_tokens(self.rows[row].tokens, 6, ())
        for session, at_first in zip((self.session, self.other), self.at_first, strict=True):
            session.close()
            assert session.native.broken() == ""
            assert session.native.resident_bytes() <= at_first + leftover(session)

    # Helpers.

    @property
    def idle(self) -> list[int]:
        return sorted(self.rows.keys() - self.owed.keys())

    def leave(self, data: st.DataObject) -> int:
        """An open row, which is not generated any more."""
        row: int = data.draw(st.sampled_from(sorted(self.rows)))
        self.generation.cancel(row)
        self.owed.pop(row, None)
        return row

    def per_row(self, values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
        """A value for every idle row; closed and live ones are left alone."""
        idle = self.idle
        return st.tuples(
            *(values if row in idle else st.none() for row in range(self.session.sequences))
        ).map(list)

    def some_tokens(self, data: st.DataObject) -> list[list[int] | None]:
        given: list[list[int] | None] = data.draw(self.per_row(st.none() | PROMPTS))
        return given

    def goes_nowhere(self, row: int, prompt: list[int] | None) -> bool:
        """Whether the row is not there, or has nothing that could be continued."""
        model = self.rows.get(row)
        return prompt is None or model is None or (model.bare and not prompt)

    def took(
        self, given: Sequence[list[int] | None], results: Sequence[Any], *, every: bool = False
    ) -> None:
        for row, (tokens, result) in enumerate(zip(given, results, strict=True)):
            if not tokens:
                assert result is None
                continue
            self.rows[row].add(tokens)
            expected = toy_logits(self.rows[row].tokens)[-len(tokens) :]
            np.testing.assert_array_equal(result, expected if every else expected[-1])

    @staticmethod
    def ran(model: Model) -> None:
        if model.seen < len(model.tokens):
            model.add([])

    @staticmethod
    def said(model: Model, tokens: list[int]) -> None:
        """The last of them nobody has run yet."""
        model.tokens += tokens
        model.seen = len(model.tokens) - (1 if tokens else 0)

    @staticmethod
    def sampled(seed: int) -> SamplingParams:
        return SamplingParams(
            max_new_tokens=5, temperature=60.0, top_k=9, presence_penalty=2.0, seed=seed,
            ignore_eos=True, suppress_tokens=(POISON,),
        )  # fmt: skip

    def alone(self, tokens: list[int], params: SamplingParams) -> list[int]:
        return self.engine.session().generate([tokens], params)[0].tokens


def leftover(session: Session) -> int:
    """Bytes in pages that several rows share: they stay when one of them is closed."""
    found = 0
    for tensor in session.engine.manifest.state:
        sizes = [session.native.capacity if dim == CAPACITY else dim for dim in tensor.shape[1:]]
        row = 4 * math.prod(map(int, sizes))
        buffers = 1 if tensor.update == "in_place" else 2
        found += buffers * (2 * session.sequences * row + PAGE) if row % PAGE else 0
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_mixture_of_calls(variant: str, tmp_path: Path) -> None:
    class Machine(Rows):
        pass

    Machine.engine = open_toy(tmp_path, **VARIANTS[variant])
    Machine.folder = tmp_path
    case: Any = Machine.TestCase()
    case.settings = settings(
        max_examples=40,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    case.runTest()


class Crowd:
    """Greedy sequences in one session, and of each how many of its tokens were given to it."""

    def __init__(self, session: Session, seed: int, *, prompt: int, chunk_size: int) -> None:
        self.session = session
        self.random = random.Random(seed)
        self.generation = Generation(session, chunk_size=chunk_size)
        self.given: dict[int, int] = {}
        self.snapshots: list[tuple[Snapshot, int]] = []
        self.opened = self.most = self.steps = 0
        self._prompt = prompt

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
        self.start(self.session.open_row(), self.tokens(self._prompt))

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
    session = engine.session(context=500)
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
    assert session.native.resident_bytes() <= at_first + leftover(session)


def test_a_row_that_is_moved_leaves_no_pages_behind(tmp_path: Path) -> None:
    session = open_toy(tmp_path, **WIDE_VARIANT).session(4, context=500)
    session.prefill([[1, 2], [3, 4], [5, 6], [7, 8]])
    session.close_row(1)
    session.decode([1, None, 1, 1])  # side by side: the last one moves to where row 1 was
    session.close()
    assert session.native.resident_bytes() <= leftover(session)


def test_a_row_without_logits_needs_a_token(tmp_path: Path) -> None:
    session = open_toy(tmp_path).session()
    with pytest.raises(EngineError):
        session.prefill([[1, 2, POISON]], chunk_size=2)
    assert (session.tokens, session.lengths) == ([[1, 2]], [2])
    with unchanged(session, InputError, "row 0 has no logits to go on from"):
        session.generate(None, FREE)
    assert session.generate([[3]], FREE)[0].tokens == toy_tokens([1, 2, 3], 6, ())


Call = tuple[bool, list[int]]
"""Whether to generate, and what to append."""


@dataclass
class Trace:
    """All that was done to a row since it was empty, and all that it said."""

    calls: list[Call] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)

    def copy(self) -> Trace:
        return Trace([*self.calls], [*self.answers])


TRACED = SamplingParams(max_new_tokens=4, ignore_eos=True, logprobs=3)
CHUNK = 5


def perform(session: Session, traces: dict[int, Trace], calls: dict[int, Call]) -> None:
    """Calls, all of the same kind, one per row."""
    rows = range(session.sequences)
    given = [calls[row][1] if row in calls else None for row in rows]
    answers: list[Any]
    if any(generate for generate, _ in calls.values()):
        done = session.generate(given, TRACED, chunk_size=CHUNK)
        answers = [(found.tokens, found.logprobs, found.top_logprobs) for found in done]
    else:
        answers = [
            None if found is None else (found.tobytes(), int(found[-1].argmax()))
            for found in session.prefill(given, chunk_size=CHUNK, logits="all")
        ]
    for row, call in calls.items():
        traces[row].calls.append(call)
        traces[row].answers.append(answers[row])


def replayed(engine: Engine, trace: Trace) -> Trace:
    alone = {0: Trace()}
    with engine.session() as session:
        for call in trace.calls:
            perform(session, alone, {0: call})
    return alone[0]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("small")
    checkpoint = save_checkpoint(folder / "checkpoint", seed=3)
    export_checkpoint(checkpoint, folder / "engine", target="ort-cpu")
    return Engine.open(folder / "engine", threads=2)


def test_our_kernels_give_a_row_the_same_bits_whoever_is_beside_it(small: Engine) -> None:
    chance = random.Random(2)
    session = small.session(4)
    traces = {row: Trace() for row in range(4)}
    snapshots: list[tuple[Snapshot, Trace]] = []
    finished: list[Trace] = []

    def prompt() -> list[int]:
        return [chance.randrange(VOCAB_SIZE) for _ in range(chance.randint(1, 18))]

    for _ in range(150):
        row = chance.choice([*traces])
        match chance.choice(["open", "fork", "snapshot", "restore", "close", *["run"] * 8]):
            case "open" if len(traces) < 12:
                traces[session.open_row()] = Trace()
            case "fork" if len(traces) < 12:
                traces[session.fork(row)] = traces[row].copy()
            case "snapshot":
                snapshots.append((session.snapshot(row), traces[row].copy()))
            case "restore" if snapshots:
                snapshot, trace = chance.choice(snapshots)
                finished.append(traces[row])
                session.restore(row, snapshot)
                traces[row] = trace.copy()
            case "close" if len(traces) > 6:
                session.close_row(row)
                finished.append(traces.pop(row))
            case "run":
                generate, calls = chance.random() < 0.3, dict[int, Call]()
                for at in chance.sample([*traces], chance.randint(1, len(traces))):
                    trace = traces[at]
                    said = None if not trace.calls or trace.calls[-1][0] else trace.answers[-1][1]
                    again = chance.random() < 0.3
                    calls[at] = generate, [said] if said is not None and not again else prompt()
                perform(session, traces, calls)
        assert session.native.broken() == ""
    for trace in [*finished, *traces.values()]:
        assert replayed(small, trace) == trace
