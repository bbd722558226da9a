"""State and history of a few sequences that share an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from deltaport.errors import InputError
from deltaport.runtime import _native
from deltaport.runtime.arguments import Rows, integer, one_per_row, token_rows
from deltaport.runtime.completion import Completion, GeneratedToken
from deltaport.runtime.engine import Engine
from deltaport.runtime.generation import Generation, Prompt, Requests
from deltaport.runtime.prefix_cache import PrefixCache
from deltaport.runtime.sampling_params import SamplingParams
from deltaport.runtime.session_state import SessionState
from deltaport.runtime.snapshot import Snapshot
from deltaport.runtime.step_limits import LIMITS

__all__ = ["Logits", "Session", "Which"]

Logits = NDArray[np.float32]
Which = Literal["last", "all"]
Prompts = Sequence[Prompt | None]
"""A prompt per row; ``None`` leaves a row alone."""
Params = SamplingParams | Sequence[SamplingParams | None] | None
"""For all rows, or one per row; ``None`` for the defaults."""


class Session:
    """A batch of ``sequences`` rows, ragged in every respect.

    Rows take any number of tokens at a time; a row that is given none is untouched. What a row
    yields does not depend on the rows beside it, nor, up to rounding, on how its tokens were cut
    into calls and steps. A step that fails, or is cancelled, leaves all rows as they were before
    it. Not for use from several threads at once, but for :meth:`cancel`.
    """

    def __init__(
        self,
        engine: Engine,
        sequences: int = 1,
        *,
        context: int | None = None,
        prefixes: PrefixCache | None = None,
    ) -> None:
        sequences = integer("sequences", sequences)
        limit = engine.manifest.longest_context
        self.engine = engine
        self.context = limit if context is None else integer("context", context, most=limit)
        self.native = _native.Session(
            engine.native, sequences, self.context, LIMITS, engine.observer
        )
        """What a ``Generation`` works on."""
        if prefixes is not None:
            if not isinstance(prefixes, PrefixCache):
                raise InputError(f"prefixes is {prefixes!r:.40}, expected a PrefixCache")
            self.native.use_prefixes(prefixes.native)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def sequences(self) -> int:
        """Number of rows, closed ones included."""
        return self.native.rows

    @property
    def tokens(self) -> list[list[int]]:
        """Every row's tokens so far, prompts and generated; at most ``context`` of them. Copies."""
        return [self.native.tokens(row) if self.is_open(row) else [] for row in self._rows]

    @property
    def state(self) -> SessionState:
        """The state, for inspection."""
        return SessionState(self.native, self.engine.manifest.state)

    @property
    def lengths(self) -> list[int]:
        """Tokens each row's state has seen; a generated one is seen with its successor."""
        return [self.native.length(row) if self.is_open(row) else 0 for row in self._rows]

    def open_row(self) -> int:
        """A new empty row; the lowest number that no open row has."""
        return self.native.open()

    def close_row(self, row: int) -> None:
        """End a row and give its memory back."""
        self._check_row(row)
        self.native.close(row)

    def is_open(self, row: int) -> bool:
        """Whether there is such a row and it was not closed."""
        return self.native.is_open(row)

    def fork(self, row: int) -> int:
        """A new row that goes on from where ``row`` is."""
        self._check_row(row)
        return self.native.fork(row)

    def close(self) -> None:
        """End all rows and give their memory back."""
        for row in self._rows:
            if self.is_open(row):
                self.native.close(row)

    def cancel(self) -> None:
        """End the step in progress, or else the next one, with ``StepCancelledError``.

        From any thread. All rows are then as they were before the step, and can go on.
        """
        self.native.cancel()

    def prefill(
        self, rows: Rows, *, chunk_size: int | None = None, logits: Which = "last"
    ) -> list[Logits | None]:
        """Append ``rows[i]`` to row i and run the model over it.

        ``chunk_size`` bounds the tokens a row runs per step; by default it follows from the
        context. Returns per row the logits [V] after its last token or, for ``logits="all"``,
        [n,V] after each; ``None`` for a row that was given no token (an empty list or ``None``).
        Raises ``InputError`` or ``CapacityError`` before anything is run. Where a step fails, what
        earlier ones have run stays, and tokens not run are taken back: all of them, if it was the
        first.
        """
        if logits not in ("last", "all"):
            raise InputError(f'logits is {logits!r:.40}, expected "last" or "all"')
        if chunk_size is not None:
            integer("chunk_size", chunk_size)
        given = {
            row: tokens
            for row, tokens in enumerate(
                token_rows(rows, self.sequences, self.engine.manifest.vocab_size)
            )
            if tokens
        }
        for row in given:
            self._check_row(row)
        found = self.native.prefill(list(given.items()), chunk_size or 0, logits == "all")
        answers: list[Logits | None] = [None] * self.sequences
        for (row, tokens), asked in zip(given.items(), found, strict=True):
            # A generated token nobody had run yet ran too; its logits were not asked for.
            answers[row] = asked[-len(tokens) :] if logits == "all" else asked[0]
        return answers

    def decode(self, tokens: Sequence[int | None]) -> list[Logits | None]:
        """Append one token to each row (``None``: leave the row alone); logits [V] per row."""
        if not isinstance(tokens, Collection):
            raise InputError(f"tokens is {tokens!r:.40}, expected a token id or None per row")
        return self.prefill([None if token is None else [token] for token in tokens])

    def stream(
        self,
        prompts: Prompts | None = None,
        params: Params = None,
        *,
        chunk_size: int | None = None,
    ) -> Iterator[GeneratedToken]:
        """Append ``prompts`` and continue; yields the new tokens of all rows as they come.

        A prompt is a list of token ids or, where the engine has a tokenizer, text. A row given an
        empty one continues from where it is, also past an end token; a row given ``None`` is left
        alone; without ``prompts`` all rows continue. A row ends as its parameters say, and by
        default after 128 tokens or with the first of the engine's end tokens, which is its last.
        A row without any token so far has nothing to continue and yields none.

        Raises ``InputError`` or ``CapacityError`` at once, before anything has changed. Whoever
        stops early finds in ``tokens`` what was yielded, and can go on from there.
        """
        generation = Generation(self, chunk_size=chunk_size)
        generation.start_all(self._requests(prompts, params))
        return generation.events()

    async def stream_async(
        self,
        prompts: Prompts | None = None,
        params: Params = None,
        *,
        chunk_size: int | None = None,
    ) -> AsyncIterator[GeneratedToken]:
        """As :meth:`stream`, for ``async for``: steps run in a thread of their own.

        Leaving the loop, or cancelling the task, cancels the step in progress.
        """
        generation = Generation(self, chunk_size=chunk_size)
        generation.start_all(self._requests(prompts, params))
        async for event in generation.events_async():
            yield event

    def generate(
        self,
        prompts: Prompts | None = None,
        params: Params = None,
        *,
        chunk_size: int | None = None,
    ) -> list[Completion]:
        """As :meth:`stream`, to the end: what each row has generated."""
        generation = Generation(self, chunk_size=chunk_size)
        requests = self._requests(prompts, params)
        generation.start_all(requests)
        events: list[list[GeneratedToken]] = [[] for _ in self._rows]
        for event in generation.events():
            events[event.row].append(event)
        return [
            Completion.of(events[row], decoded=requests[row][1].detokenize and self._has_text)
            if row in requests and self.native.count(row)
            else Completion()
            for row in self._rows
        ]

    def clear(self, row: int) -> None:
        """Make ``row`` an empty sequence again."""
        self._check_row(row)
        self.native.clear(row)

    def snapshot(self, row: int) -> Snapshot:
        """Set aside what ``row`` is now: a copy of its tokens and of the state they made."""
        self._check_row(row)
        return Snapshot(self.engine.manifest, self.native.snapshot(row))

    def restore(self, row: int, snapshot: Snapshot) -> None:
        """Make ``row`` what it was at ``snapshot``, in this session or another of the same engine.

        Raises ``InputError`` for a snapshot of another engine, ``CapacityError`` for one that does
        not fit, and changes nothing then.
        """
        self._check_row(row)
        self.native.restore(row, _native_snapshot(snapshot))

    def rewind(self, row: int, count: int, snapshots: Iterable[Snapshot] = ()) -> None:
        """Make ``row`` a sequence of its first ``count`` tokens again, if it has more.

        A recurrent state cannot be shortened: of ``snapshots``, and of what the session's prefix
        cache holds, the longest that was taken of the row's first tokens is where the row starts
        again; the tokens from there to ``count`` are run once more. Raises ``InputError`` where
        there is no such snapshot, and for one of another engine. Where this fails or is
        cancelled, the row is as it was.
        """
        self._check_row(row)
        count = integer("count", count, least=0)
        self.native.rewind(row, count, [_native_snapshot(snapshot) for snapshot in snapshots])

    def _check_row(self, row: int) -> None:
        integer("row", row, least=0, most=self.sequences - 1)
        if not self.is_open(row):
            raise InputError(f"row {row} is closed; open one with open_row, or another session")

    @property
    def _rows(self) -> range:
        return range(self.sequences)

    @property
    def _has_text(self) -> bool:
        return self.engine.tokenizer is not None

    def _requests(self, prompts: Prompts | None, params: Params) -> Requests:
        """What each row that is not left alone is to continue, and how."""
        if prompts is None:
            prompts = [() if self.is_open(row) else None for row in self._rows]
        if params is None or isinstance(params, SamplingParams):
            params = [params] * self.sequences
        for given in (prompts, params):
            one_per_row(given, self.sequences)
        return {
            row: (prompt, own or SamplingParams())
            for row, (prompt, own) in enumerate(zip(prompts, params, strict=True))
            if prompt is not None
        }


def _native_snapshot(snapshot: Snapshot) -> _native.Snapshot:
    if not isinstance(snapshot, Snapshot):
        raise InputError(f"snapshot is {snapshot!r:.40}, expected what Session.snapshot gave")
    return snapshot.native
