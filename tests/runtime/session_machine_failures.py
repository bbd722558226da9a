"""Rules of the state machine for steps that come to nothing."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from deltaport.errors import EngineError, InputError, StepCancelledError
from tests.runtime.session_machine import CHUNKS, TOKENS, SessionMachine, some_idle, some_live
from tests.runtime.session_model import FREE, RowModel, unchanged
from tests.runtime.toy_engine import POISON

__all__ = ["FailureRules"]


class FailureRules(SessionMachine):
    """Steps are cancelled, fail, or find a row that somebody else has changed."""

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
        self.rows[row] = RowModel([POISON])
        self.generation.start(row, [POISON], FREE)
        with unchanged(self.session, EngineError, "a step failed: "):
            self.generation.step()
        assert self.generation.live == sorted([*self.owed, row])
        self.generation.cancel(row)
        self.session.clear(row)
        self.rows[row] = RowModel()

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
