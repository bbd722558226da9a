"""State and history of a few sequences that share an engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deltaport.decoder_interface import LOGITS
from deltaport.errors import CapacityError, EngineError, InputError
from deltaport.runtime.arguments import Rows, integer, token_ids, token_rows
from deltaport.runtime.engine import Engine
from deltaport.runtime.state_buffers import StateBuffers
from deltaport.runtime.step_plan import plan_step

__all__ = ["Logits", "Session"]

Logits = NDArray[np.float32]
Which = Literal["last", "all"]

INITIAL_CAPACITY = 256
LARGEST_STEP = 512
"""Most tokens a row runs per step unless the caller says otherwise: enough to keep a CPU busy."""
SMALLEST_STEP = 16
SCORE_CELLS = 1 << 21
"""Attention scores (rows x tokens x columns, per head) a step may make unless told otherwise.

The portable attention holds a few float32 arrays of that size per head, so at long contexts steps
shrink: 8 MiB a head and array.
"""


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
        self.tokens: list[list[int]] = [[] for _ in range(sequences)]
        """Every row's tokens so far, prompts and generated; at most ``context`` of them."""
        self._lengths = np.zeros(sequences, dtype=np.int64)  # tokens each row's state has seen
        self._logits: list[Logits | None] = [None] * sequences  # after a row's last token
        capacity = min(INITIAL_CAPACITY, self.context)
        self._state = StateBuffers(engine.manifest.state, sequences, capacity)
        self._lost = False

    @property
    def sequences(self) -> int:
        """Number of rows."""
        return len(self.tokens)

    @property
    def state(self) -> StateBuffers:
        """The state, for inspection."""
        return self._state

    @property
    def lengths(self) -> list[int]:
        """Tokens each row's state has seen; a generated one is seen with its successor."""
        return [int(n) for n in self._lengths]

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
        given = self._append(rows, chunk_size, room=0)
        chosen = [row for row, tokens in enumerate(given) if tokens]
        results = self._run(chosen, chunk_size, logits)
        answers: list[Logits | None] = [None] * self.sequences
        for row in chosen:
            # A generated token nobody had run yet ran too; its logits were not asked for.
            asked = results[row][-len(given[row] or ()) :]
            answers[row] = asked if logits == "all" else asked[-1]
        return answers

    def decode(self, tokens: Sequence[int | None]) -> list[Logits | None]:
        """Append one token to each row (``None``: leave the row alone); logits [V] per row."""
        if not isinstance(tokens, Collection):
            raise InputError(f"tokens is {tokens!r:.40}, expected a token id or None per row")
        return self.prefill([None if token is None else [token] for token in tokens])

    def generate(
        self,
        prompts: Rows | None = None,
        *,
        max_new_tokens: int = 128,
        eos_token_ids: Collection[int] | None = None,
        chunk_size: int | None = None,
        on_token: Callable[[int, int], None] = lambda row, token: None,
    ) -> list[list[int]]:
        """Append ``prompts`` and continue greedily; returns the new tokens per row.

        A row given ``[]`` continues from where it is, also past an end-of-sequence token; a row
        given ``None`` is left alone. A row ends after ``max_new_tokens``, or with the first of
        ``eos_token_ids`` (by default the model's own), which is returned as its last token. A row
        without any token so far has nothing to continue and yields none. ``on_token(row, token)``
        is called as tokens appear.
        """
        integer("max_new_tokens", max_new_tokens, least=0)
        manifest = self.engine.manifest
        stop = set(
            manifest.eos_token_ids
            if eos_token_ids is None
            else token_ids("eos_token_ids", eos_token_ids, manifest.vocab_size)
        )
        rows = [[]] * self.sequences if prompts is None else prompts
        given = self._append(rows, chunk_size, room=max_new_tokens)
        chosen = [row for row, tokens in enumerate(given) if tokens is not None]
        self._run(chosen, chunk_size, "last")

        fresh: list[list[int]] = [[] for _ in self.tokens]
        live = [row for row in chosen if self._logits[row] is not None and max_new_tokens]
        while live:
            for row in live:
                token = self._pick(row)
                fresh[row].append(token)
                on_token(row, token)
            live = [r for r in live if fresh[r][-1] not in stop and len(fresh[r]) < max_new_tokens]
            self._run(live, chunk_size, "last")
        return fresh

    def _pick(self, row: int) -> int:
        """Extend a row by its most likely token."""
        logits = self._logits[row]
        assert logits is not None, "only rows that were just run are continued"
        token = int(logits.argmax())  # a NaN counts as largest
        if not np.isfinite(logits[token]):
            raise EngineError(
                f"{self.engine.folder}: the logits of row {row} after {len(self.tokens[row])} "
                f"tokens hold {logits[token]}; the checkpoint's weights do, or they overflow"
            )
        self.tokens[row].append(token)
        self._logits[row] = None
        return token

    def _append(self, rows: Rows, chunk_size: int | None, room: int) -> list[list[int] | None]:
        """Check everything, make room, and only then take over new tokens: all rows or none.

        ``room``: tokens to follow in every row that is not left alone.
        """
        if self._lost:
            raise EngineError("this session lost its state when a step failed; open a new one")
        if chunk_size is not None:
            integer("chunk_size", chunk_size)
        given = token_rows(rows, self.sequences, self.engine.manifest.vocab_size)
        self._make_room(given, chunk_size, room)
        for history, tokens in zip(self.tokens, given, strict=True):
            history.extend(tokens or ())
        return given

    def _make_room(self, given: list[list[int] | None], chunk_size: int | None, room: int) -> None:
        """Grow the caches for the new tokens and those to follow, or refuse them."""
        longest = widest = 1
        for row, tokens in enumerate(given):
            total = len(self.tokens[row]) + len(tokens or ())
            follow = room if tokens is not None and total else 0
            if (tokens or follow) and total + follow > self.context:
                raise CapacityError(
                    f"row {row}: {total} tokens and {follow} to follow exceed the context of "
                    f"{self.context}; shorten the input or open the session with a larger context"
                )
            longest = max(longest, total + follow)
            widest = max(widest, total - int(self._lengths[row]))
        # A step writes the caches over all its columns, padding included, from each row's length
        # on: beside other rows, the longest may need room for padding as wide as a step.
        padding = min(widest, chunk_size or LARGEST_STEP) if self.sequences > 1 else 0
        self._state.reserve(longest + padding, used=int(self._lengths.max()))

    def _run(
        self, rows: Collection[int], chunk_size: int | None, logits: Which
    ) -> dict[int, Logits]:
        """Run every token the rows' state has not seen; logits [n,V] of those that had any."""
        parts: dict[int, list[Logits]] = {}
        while waiting := [row for row in rows if len(self.tokens[row]) > self._lengths[row]]:
            width = chunk_size or self._step_width()
            work = {row: self._next_tokens(row, width) for row in waiting}
            for row, result in self._step(work, logits).items():
                parts.setdefault(row, []).append(result)
        return {row: np.concatenate(part) for row, part in parts.items()}

    def _next_tokens(self, row: int, width: int) -> list[int]:
        seen = int(self._lengths[row])
        return self.tokens[row][seen : seen + width]

    def _step_width(self) -> int:
        columns = int(self._lengths.max()) + LARGEST_STEP
        return max(SMALLEST_STEP, min(LARGEST_STEP, SCORE_CELLS // (self.sequences * columns)))

    def _step(self, work: dict[int, list[int]], logits: Which) -> dict[int, Logits]:
        """Run the given tokens in one step; logits [n,V] per row that gets any.

        Rows that still have tokens to come get none unless all are wanted.
        """
        wanted: dict[int, Sequence[int]] = {}
        for row, tokens in work.items():
            finishes = self._lengths[row] + len(tokens) == len(self.tokens[row])
            last = [len(tokens) - 1] if finishes else []
            wanted[row] = range(len(tokens)) if logits == "all" else last
        plan = plan_step(work, self._lengths, wanted)
        out = np.empty((plan.logit_rows, self.engine.manifest.vocab_size), dtype=np.float32)
        self._lost = True  # in-place state is undefined until the step has succeeded
        self.engine.run_step(
            [*plan.inputs.items(), *self._state.inputs()],
            [(LOGITS, out), *self._state.outputs()],
        )
        self._state.commit()
        self._lengths = self._lengths + plan.lengths
        self._lost = False

        ends = np.cumsum(list(plan.picks.values()))[:-1]
        results = dict(zip(plan.picks, np.split(out, ends), strict=True)) if plan.picks else {}
        for row, result in results.items():
            if self._lengths[row] == len(self.tokens[row]):
                # A copy: the caller may well change in place what it is given.
                self._logits[row] = result[-1].copy()
        return results
