"""Sequences generated side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deltaport.errors import EngineError, InputError
from deltaport.runtime.arguments import integer, token_ids
from deltaport.runtime.batch import Logits
from deltaport.runtime.completion import GeneratedToken
from deltaport.runtime.sampling_params import SamplingParams
from deltaport.runtime.sequence import GeneratedSequence

if TYPE_CHECKING:
    from deltaport.runtime.session import Session

__all__ = ["Generation", "Prompt", "Requests"]

Prompt = str | Sequence[int]
"""What a row is to continue: text, token ids, or nothing to go on from where it is."""
Requests = Mapping[int, tuple[Prompt, SamplingParams]]
"""By row."""


class Generation:
    """Rows of a session that are continued together; they join and leave between steps.

    A row's tokens depend on its own prompt, parameters and seed, not on the rows beside it. While
    a long prompt is read, chunk by chunk, the other rows go on::

        generation = Generation(session)
        generation.start(0, "Once upon a time", SamplingParams(temperature=0.7))
        while generation.live:
            for event in generation.step():
                ...
    """

    def __init__(self, session: Session, *, chunk_size: int | None = None) -> None:
        """``chunk_size`` bounds the tokens a row runs per step, as in ``Session.prefill``."""
        if chunk_size is not None:
            integer("chunk_size", chunk_size)
        self._batch = session.batch
        self._chunk_size = chunk_size
        self._live: dict[int, GeneratedSequence] = {}

    @property
    def live(self) -> list[int]:
        """Rows that have not ended, ascending."""
        return sorted(self._live)

    def start(self, row: int, prompt: Prompt, params: SamplingParams | None = None) -> None:
        """Append ``prompt`` to ``row`` and continue it from the next step on.

        An empty prompt continues the row from where it is; a row without any token has nothing to
        continue and does not become live. ``params``: by default greedy. Raises ``InputError`` or
        ``CapacityError`` and changes nothing.
        """
        integer("row", row, least=0, most=len(self._batch.tokens) - 1)
        self.start_all({row: (prompt, params or SamplingParams())})

    def start_all(self, requests: Requests) -> None:
        """As :meth:`start` for several rows at once: all of them or none."""
        batch = self._batch
        batch.check_usable()
        given: dict[int, list[int]] = {}
        joining: dict[int, GeneratedSequence] = {}
        for row, (prompt, params) in requests.items():
            if row in self._live:
                raise InputError(f"row {row} is being generated; cancel it first")
            if not isinstance(params, SamplingParams):
                raise InputError(f"row {row}: params are {params!r:.40}, expected SamplingParams")
            given[row] = self._ids(row, prompt)
            joining[row] = GeneratedSequence(
                batch.engine, row, batch.tokens[row], given[row], batch.context, params
            )
        follow = {row: sequence.to_come for row, sequence in (self._live | joining).items()}
        batch.append(given, follow, self._chunk_size)
        for row, sequence in joining.items():
            if batch.tokens[row] and (sequence.limit or batch.waiting([row])):
                self._live[row] = sequence

    def cancel(self, row: int) -> None:
        """Let ``row`` end here, or have ended; its tokens so far stay in the session."""
        integer("row", row, least=0, most=len(self._batch.tokens) - 1)
        self._live.pop(row, None)

    def step(self) -> list[GeneratedToken]:
        """Run the decoder once; the new token of every row that has one, by row.

        A row whose prompt is not read to its end has none yet. Where this raises, because
        ``allowed_tokens`` does or nothing is left to choose, no row has gone on, and the step can
        be repeated when the row in question is cancelled.
        """
        self._run()
        picks = [(row, self._pick(row)) for row in self._ready()]
        return [self._go_on(row, token) for row, token in picks]

    def events(self) -> Iterator[GeneratedToken]:
        """All steps until no row is live, a token at a time.

        Rows go on as their tokens are taken: whoever stops taking has seen all there are.
        """
        while self._live:
            self._run()
            for row in self._ready():
                yield self._go_on(row, self._pick(row))

    def _ids(self, row: int, prompt: Prompt) -> list[int]:
        """``prompt`` as token ids that the engine has."""
        engine, name = self._batch.engine, f"row {row}"
        if isinstance(prompt, str):
            if engine.tokenizer is None:
                raise InputError(
                    f"{engine.folder}: has no tokenizer.json, so it takes token ids only; give "
                    "ids, or copy the checkpoint's file there"
                )
            prompt, name = engine.tokenizer.encode(prompt), f"row {row}, by the tokenizer"
        return token_ids(name, prompt, engine.manifest.vocab_size)

    def _run(self) -> None:
        """One step for the rows whose state has not seen all their tokens, if there are any."""
        self._batch.check_usable()
        for row in self.live:
            self._check_untouched(row)
        if waiting := self._batch.waiting(self.live):
            self._batch.step(waiting, self._chunk_size)

    def _ready(self) -> list[int]:
        """Live rows that can have a token now. One that was to be read only ends instead."""
        waiting = set(self._batch.waiting(self._live))
        ready = [row for row in self.live if row not in waiting]
        for row in ready:
            if not self._live[row].limit:
                del self._live[row]
        return [row for row in ready if row in self._live]

    def _pick(self, row: int) -> int:
        self._check_untouched(row)  # the rows' tokens may be taken one at a time
        return self._live[row].pick(self._logits(row))

    def _check_untouched(self, row: int) -> None:
        self._live[row].check_untouched(self._batch.tokens[row])

    def _go_on(self, row: int, token: int) -> GeneratedToken:
        """Make ``token`` the row's next one."""
        event = self._live[row].add(token, self._logits(row))
        self._batch.extend(row, token)
        if event.finish_reason is not None:
            del self._live[row]
        return event

    def _logits(self, row: int) -> Logits:
        """What the row's next token is chosen by; EngineError if that is not numbers."""
        logits = self._batch.logits[row]
        assert logits is not None, "only rows that were run are continued"
        largest = logits.max()  # a NaN counts as largest
        if not np.isfinite(largest):
            raise EngineError(
                f"{self._batch.engine.folder}: the logits of row {row} after "
                f"{len(self._batch.tokens[row])} tokens hold {largest}; the checkpoint's weights "
                "do, or they overflow"
            )
        return logits
