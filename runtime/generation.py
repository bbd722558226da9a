"""Sequences generated side by side."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from deltaport.errors import InputError, StepCancelledError
from deltaport.runtime import _native
from deltaport.runtime.allowed_tokens import allowed_mask
from deltaport.runtime.arguments import integer, token_ids
from deltaport.runtime.completion import FinishReason, GeneratedToken
from deltaport.runtime.row_text import RowText
from deltaport.runtime.sampling_params import SamplingParams

if TYPE_CHECKING:
    from deltaport.runtime.session import Session

__all__ = ["Generation", "Prompt", "Requests"]

Prompt = str | Sequence[int]
"""What a row is to continue: text, token ids, or nothing to go on from where it is."""
Requests = Mapping[int, tuple[Prompt, SamplingParams]]
"""By row."""


_Found = tuple[
    int, int, float | None, tuple[tuple[int, float], ...], Literal["length", "end_token"] | None
]
"""As the native runtime gives it; the last says why it is the row's last token."""


@dataclass
class _Row:
    """What Python has to do for a live row."""

    params: SamplingParams
    text: RowText
    new_tokens: list[int] = field(default_factory=list)


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
        self._session = session
        self._engine = session.engine
        self._native = _native.Generation(session.native, chunk_size or 0)
        self._rows: dict[int, _Row] = {}

    @property
    def live(self) -> list[int]:
        """Rows that have not ended, ascending."""
        return self._native.live

    def start(self, row: int, prompt: Prompt, params: SamplingParams | None = None) -> None:
        """Append ``prompt`` to ``row`` and continue it from the next step on.

        An empty prompt continues the row from where it is; a row without any token has nothing to
        continue and does not become live. ``params``: by default greedy. Raises ``InputError`` or
        ``CapacityError`` and changes nothing.
        """
        self._check_row(row)
        self.start_all({row: (prompt, params or SamplingParams())})

    def start_all(self, requests: Requests) -> None:
        """As :meth:`start` for several rows at once: all of them or none."""
        live = set(self.live)
        joining: dict[int, _Row] = {}
        native: list[tuple[int, list[int], _native.SamplingParams]] = []
        for row, (prompt, params) in requests.items():
            if row in live:
                raise InputError(f"row {row} is being generated; cancel it first")
            if not isinstance(params, SamplingParams):
                raise InputError(f"row {row}: params are {params!r:.40}, expected SamplingParams")
            ids = self._ids(row, prompt)
            params.check_ids(self._engine.manifest.vocab_size)
            joining[row] = _Row(params, RowText(self._engine, params))
            native.append((row, ids, params.native()))
        self._native.start(native)
        self._rows |= joining

    def cancel(self, row: int) -> None:
        """Let ``row`` end here, or have ended; its tokens so far stay in the session."""
        self._check_row(row)
        self._native.cancel(row)

    def step(self) -> list[GeneratedToken]:
        """Run the decoder once; the new token of every row that has one, by row.

        A row whose prompt is not read to its end has none yet. Where this raises, because
        ``allowed_tokens`` does or nothing is left to choose, no row has gone on, and the step can
        be repeated when the row in question is cancelled.
        """
        if all(self._rows[row].params.allowed_tokens is None for row in self.live):
            return [self._event(found) for found in self._native.step()]
        self._native.run()
        picks = [(row, self._pick(row)) for row in self._native.ready()]
        return [self._event(self._native.go_on(row, token)) for row, token in picks]

    def events(self) -> Iterator[GeneratedToken]:
        """All steps until no row is live, a token at a time.

        Rows go on as their tokens are taken: whoever stops taking has seen all there are.
        """
        while self.live:
            self._native.run()
            yield from self._ready_events()

    async def events_async(self) -> AsyncIterator[GeneratedToken]:
        """As :meth:`events`, for ``async for``; a task that is cancelled cancels its step."""
        import asyncio  # takes as long to import as all of deltaport

        while self.live:
            step = asyncio.ensure_future(asyncio.to_thread(self._native.run))
            try:
                await asyncio.shield(step)
            except asyncio.CancelledError:
                self._session.cancel()
                while not step.done():  # the session is not to be left in mid-step
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.wait([step])
                if not isinstance(step.exception(), StepCancelledError):
                    self._session.native.take_cancel()  # it came too late, and is not for others
                raise
            for event in self._ready_events():
                yield event

    def _ready_events(self) -> Iterator[GeneratedToken]:
        for row in self._native.ready():
            yield self._event(self._native.go_on(row, self._pick(row)))

    def _ids(self, row: int, prompt: Prompt) -> list[int]:
        """``prompt`` as token ids that the engine has."""
        engine, name = self._engine, f"row {row}"
        if isinstance(prompt, str):
            if engine.tokenizer is None:
                raise InputError(
                    f"{engine.folder}: has no tokenizer.json, so it takes token ids only; give "
                    "ids, or copy the checkpoint's file there"
                )
            prompt, name = engine.tokenizer.encode(prompt), f"row {row}, by the tokenizer"
        return token_ids(name, prompt, engine.manifest.vocab_size)

    def _pick(self, row: int) -> int:
        held = self._rows[row]
        callback, vocab_size = held.params.allowed_tokens, self._engine.manifest.vocab_size
        return self._native.pick(row, allowed_mask(callback, held.new_tokens, vocab_size))

    def _event(self, found: _Found) -> GeneratedToken:
        row, token, logprob, top_logprobs, ended = found
        reason: FinishReason | None = ended
        held = self._rows[row]
        held.new_tokens.append(token)
        text = held.text.push(token, last=reason is not None)
        if held.text.stopped:
            reason = "stop_string"
            self._native.cancel(row)
        return GeneratedToken(row, token, text, logprob, top_logprobs, reason)

    def _check_row(self, row: int) -> None:
        integer("row", row, least=0, most=self._session.sequences - 1)
