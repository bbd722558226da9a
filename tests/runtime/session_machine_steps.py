"""Rules of the state machine by which rows go on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from deltaport.runtime import SamplingParams
from tests.runtime.session_machine import (
    CHUNKS,
    PROMPTS,
    TOKENS,
    SessionMachine,
    some_idle,
    some_live,
)
from tests.runtime.session_model import FREE
from tests.runtime.toy_engine import EOS, toy_tokens

__all__ = ["StepRules"]


class StepRules(SessionMachine):
    """Rows are given tokens, or say some: at once or step by step, alone or beside others."""

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
