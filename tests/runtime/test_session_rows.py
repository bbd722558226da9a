"""Rows do not know of one another: any mixture of calls gives each what it would get alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deltaport.runtime import Engine, SamplingParams, Session
from tests.greedy import greedy
from tests.runtime.toy_engine import EOS, POISON, toy_logits, toy_tokens

TOKENS = st.integers(0, POISON - 1)
CHUNKS = st.sampled_from([1, 2, 3, 5, 512])


class Rows(RuleBasedStateMachine):
    """A session beside plain lists of tokens, from which Python computes what each row must say."""

    engine: Engine
    session: Session
    histories: list[list[int]]

    @initialize(count=st.integers(1, 4))
    def start(self, count: int) -> None:
        self.session = self.engine.session(count)
        self.histories = [[] for _ in range(count)]

    @rule(data=st.data(), chunk_size=CHUNKS, kind=st.sampled_from(["last", "all"]))
    def prefill(self, data: st.DataObject, chunk_size: int, kind: Any) -> None:
        rows = data.draw(self.some_rows())
        results = self.session.prefill(rows, chunk_size=chunk_size, logits=kind)
        self.check(rows, results, every=kind == "all")

    @rule(data=st.data())
    def decode(self, data: st.DataObject) -> None:
        count = len(self.histories)
        tokens = data.draw(st.lists(st.none() | TOKENS, min_size=count, max_size=count))
        results = self.session.decode(tokens)
        self.check([[] if token is None else [token] for token in tokens], results, every=False)

    @rule(
        data=st.data(),
        chunk_size=CHUNKS,
        new=st.integers(0, 5),
        stop=st.none() | st.sets(TOKENS, max_size=4),
        appending=st.booleans(),
    )
    def generate(
        self,
        data: st.DataObject,
        chunk_size: int,
        new: int,
        stop: set[int] | None,
        appending: bool,
    ) -> None:
        rows = data.draw(self.some_rows()) if appending else [[] for _ in self.histories]
        told: list[list[int]] = [[] for _ in self.histories]
        params = SamplingParams(
            max_new_tokens=new, ignore_eos=stop is not None, stop_token_ids=tuple(stop or ())
        )
        given = rows if appending else None
        for event in self.session.stream(given, params, chunk_size=chunk_size):
            told[event.row].append(event.token)
        ending = [EOS] if stop is None else list(stop)
        for history, row, added in zip(self.histories, rows, told, strict=True):
            history += row
            assert added == toy_tokens(history, new, ending)
            history += added

    @precondition(lambda self: max(map(len, self.histories)) < 300)
    @rule(row=st.integers(0, 3), token=TOKENS)
    def outgrow_the_cache(self, row: int, token: int) -> None:
        rows: list[list[int]] = [[] for _ in self.histories]
        rows[row % len(rows)] = [token] * 250
        self.check(rows, self.session.prefill(rows), every=False)

    @invariant()
    def histories_agree(self) -> None:
        assert self.session.tokens == self.histories
        for seen, history in zip(self.session.lengths, self.histories, strict=True):
            assert len(history) - 1 <= seen <= len(history)

    def some_rows(self) -> st.SearchStrategy[list[list[int]]]:
        count = len(self.histories)
        return st.lists(st.lists(TOKENS, max_size=6), min_size=count, max_size=count)

    def check(self, rows: list[list[int]], results: list[Any], *, every: bool) -> None:
        for history, row, result in zip(self.histories, rows, results, strict=True):
            history += row
            if not row:
                assert result is None
                continue
            expected = toy_logits(history)[-len(row) :]
            np.testing.assert_array_equal(result, expected if every else expected[-1])


def test_any_mixture_of_calls(engine: Engine) -> None:
    class Machine(Rows):
        pass

    Machine.engine = engine
    case = Machine.TestCase()
    case.settings = settings(
        max_examples=150, stateful_step_count=12, deadline=None, derandomize=True
    )
    case.runTest()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    prompts=st.lists(st.lists(TOKENS, max_size=20), min_size=1, max_size=5),
    new=st.integers(0, 12),
    chunk_size=CHUNKS,
)
def test_a_batch_equals_its_rows_alone(
    engine: Engine, prompts: list[list[int]], new: int, chunk_size: int
) -> None:
    together = greedy(engine.session(len(prompts)), prompts, new=new, chunk_size=chunk_size)
    alone = [greedy(engine.session(), [row], new=new)[0] for row in prompts]
    assert together == alone == [toy_tokens(row, new) for row in prompts]
