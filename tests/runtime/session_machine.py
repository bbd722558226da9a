"""A session beside what its rows must be: what all rules of the state machine share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition

from deltaport.runtime import Engine, Generation, SamplingParams, Snapshot
from tests.runtime.session_model import FREE, RowModel, check_row, leftover
from tests.runtime.toy_engine import POISON, toy_logits, toy_tokens

__all__ = ["CHUNKS", "PROMPTS", "TOKENS", "SessionMachine", "some_idle", "some_live", "some_open"]

TOKENS = st.integers(0, POISON - 1)
PROMPTS = st.lists(TOKENS, max_size=9)
CHUNKS = st.sampled_from([1, 2, 3, 5, 512])

some_open = precondition(lambda self: self.rows)
some_idle = precondition(lambda self: self.idle)
some_live = precondition(lambda self: self.generation.live)


class SessionMachine(RuleBasedStateMachine):
    """A session beside plain lists of tokens, from which Python computes what each row must say."""

    engine: Engine
    folder: Path

    @initialize(count=st.integers(1, 3), chunk=st.sampled_from([None, 1, 3]))
    def begin(self, count: int, chunk: int | None) -> None:
        self.session = self.engine.session(count)
        self.other = self.engine.session()
        self.at_first = [s.native.resident_bytes() for s in (self.session, self.other)]
        self.rows = {row: RowModel() for row in range(count)}
        self.chunk = chunk or 512
        self.generation = Generation(self.session, chunk_size=chunk)
        self.owed: dict[int, list[int]] = {}
        """What live rows are still to say."""
        self.snapshots: list[tuple[Snapshot, RowModel]] = []

    # What always holds.

    @invariant()
    def all_is_well(self) -> None:
        if not hasattr(self, "session"):
            return
        native = self.session.native
        assert native.broken() == ""
        for row, model in self.rows.items():
            check_row(self.session, row, model)
        held = [self.rows.get(row, RowModel()) for row in range(self.session.sequences)]
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
    def ran(model: RowModel) -> None:
        if model.seen < len(model.tokens):
            model.add([])

    @staticmethod
    def said(model: RowModel, tokens: list[int]) -> None:
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
