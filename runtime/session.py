"""State and history of a few sequences that share an engine."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from deltaport.errors import CapacityError, InputError
from deltaport.runtime.arguments import Rows, integer, one_per_row, token_rows
from deltaport.runtime.batch import Batch, Logits, Which
from deltaport.runtime.completion import Completion, GeneratedToken
from deltaport.runtime.engine import Engine
from deltaport.runtime.generation import Generation, Prompt, Requests
from deltaport.runtime.sampling_params import SamplingParams
from deltaport.runtime.snapshot import Snapshot
from deltaport.runtime.state_buffers import StateBuffers

__all__ = ["Logits", "Session"]

Prompts = Sequence[Prompt | None]
"""A prompt per row; ``None`` leaves a row alone."""
Params = SamplingParams | Sequence[SamplingParams | None] | None
"""For all rows, or one per row; ``None`` for the defaults."""


class Session:
    """A batch of ``sequences`` rows, ragged in every respect.

    Rows take any number of tokens at a time; a row that is given none is untouched. What a row
    yields does not depend on the rows beside it, nor, up to rounding, on how its tokens were cut
    into calls and steps. Not for use from several threads at once.
    """

    def __init__(self, engine: Engine, sequences: int = 1, *, context: int | None = None) -> None:
        sequences = integer("sequences", sequences)
        limit = engine.manifest.max_positions
        self.engine = engine
        self.context = limit if context is None else integer("context", context, most=limit)
        self.batch = Batch(engine, sequences, self.context)
        """What a ``Generation`` works on."""

    @property
    def sequences(self) -> int:
        """Number of rows."""
        return len(self.batch.tokens)

    @property
    def tokens(self) -> list[list[int]]:
        """Every row's tokens so far, prompts and generated; at most ``context`` of them."""
        return self.batch.tokens

    @property
    def state(self) -> StateBuffers:
        """The state, for inspection."""
        return self.batch.state

    @property
    def lengths(self) -> list[int]:
        """Tokens each row's state has seen; a generated one is seen with its successor."""
        return [int(n) for n in self.batch.lengths]

    def prefill(
        self, rows: Rows, *, chunk_size: int | None = None, logits: Which = "last"
    ) -> list[Logits | None]:
        """Append ``rows[i]`` to row i and run the model over it.

        ``chunk_size`` bounds the tokens a row runs per step; by default it follows from the
        context. Returns per row the logits [V] after its last token or, for ``logits="all"``,
        [n,V] after each; ``None`` for a row that was given no token (an empty list or ``None``).
        Raises ``InputError`` or ``CapacityError`` before anything is run.
        """
        if logits not in ("last", "all"):
            raise InputError(f'logits is {logits!r:.40}, expected "last" or "all"')
        self.batch.check_usable()
        if chunk_size is not None:
            integer("chunk_size", chunk_size)
        given = {
            row: tokens
            for row, tokens in enumerate(
                token_rows(rows, self.sequences, self.engine.manifest.vocab_size)
            )
            if tokens
        }
        self.batch.append(given, {}, chunk_size)
        parts: dict[int, list[Logits]] = {row: [] for row in given}
        while waiting := self.batch.waiting(given):
            for row, part in self.batch.step(waiting, chunk_size, logits).items():
                parts[row].append(part)
        answers: list[Logits | None] = [None] * self.sequences
        for row, tokens in given.items():
            # A generated token nobody had run yet ran too; its logits were not asked for.
            asked = np.concatenate(parts[row])[-len(tokens) :]
            answers[row] = asked if logits == "all" else asked[-1]
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
        events: list[list[GeneratedToken]] = [[] for _ in self.tokens]
        for event in generation.events():
            events[event.row].append(event)
        return [
            Completion.of(events[row], decoded=requests[row][1].detokenize and self._has_text)
            if row in requests and self.tokens[row]
            else Completion()
            for row in range(self.sequences)
        ]

    def clear(self, row: int) -> None:
        """Make ``row`` an empty sequence again."""
        self._check_row(row)
        self.batch.clear(row)

    def snapshot(self, row: int) -> Snapshot:
        """Set aside what ``row`` is now: a copy of its tokens and of the state they made."""
        self._check_row(row)
        return self.batch.snapshot(row)

    def restore(self, row: int, snapshot: Snapshot) -> None:
        """Make ``row`` what it was at ``snapshot``, in this session or another of the same engine.

        Raises ``InputError`` for a snapshot of another engine, ``CapacityError`` for one that does
        not fit, and changes nothing then.
        """
        self._check_row(row)
        if not isinstance(snapshot, Snapshot):
            raise InputError(f"snapshot is {snapshot!r:.40}, expected what Session.snapshot gave")
        if snapshot.manifest != self.engine.manifest:
            raise InputError(
                f"the snapshot was taken with another engine than {self.engine.folder}; restore "
                "it in a session of its own engine"
            )
        if len(snapshot.tokens) > self.context:
            raise CapacityError(
                f"the snapshot has {len(snapshot.tokens)} tokens, which exceed the context of "
                f"{self.context}; open the session with a larger context"
            )
        self.batch.restore(row, snapshot)

    def _check_row(self, row: int) -> None:
        integer("row", row, least=0, most=self.sequences - 1)
        self.batch.check_usable()

    @property
    def _has_text(self) -> bool:
        return self.engine.tokenizer is not None

    def _requests(self, prompts: Prompts | None, params: Params) -> Requests:
        """What each row that is not left alone is to continue, and how."""
        if prompts is None:
            prompts = [()] * self.sequences
        if params is None or isinstance(params, SamplingParams):
            params = [params] * self.sequences
        for given in (prompts, params):
            one_per_row(given, self.sequences)
        return {
            row: (prompt, own or SamplingParams())
            for row, (prompt, own) in enumerate(zip(prompts, params, strict=True))
            if prompt is not None
        }
