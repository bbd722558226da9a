"""State and history of a few sequences that share an engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deltaport.errors import CapacityError, EngineError, InputError
from deltaport.runtime.engine import Engine
from deltaport.runtime.state_buffers import StateBuffers

__all__ = ["Logits", "Session"]

Logits = NDArray[np.float32]
Rows = Sequence[Sequence[int]]

INITIAL_CAPACITY = 256
DEFAULT_CHUNK = 512
"""Prefill tokens per row and step: bounds memory, and is enough to keep a CPU busy."""


class Session:
    """A batch of ``sequences`` rows, ragged in every respect.

    Rows take any number of tokens at a time, none included: a row that takes none is untouched.
    What a row yields does not depend on the rows beside it, nor on how its tokens were cut into
    calls. Not for use from several threads at once.
    """

    def __init__(self, engine: Engine, sequences: int = 1, *, context: int | None = None) -> None:
        limit = engine.manifest.max_positions
        if sequences < 1:
            raise InputError(f"sequences is {sequences}, expected at least 1")
        if context is not None and not 1 <= context <= limit:
            raise InputError(f"context is {context}, expected 1 to {limit}, what the model allows")
        self.engine = engine
        self.context = context or limit
        self.tokens: list[list[int]] = [[] for _ in range(sequences)]
        """Every row's tokens so far, prompts and generated."""
        self._lengths = np.zeros(sequences, dtype=np.int64)  # tokens each row's state has seen
        self._logits: list[Logits | None] = [None] * sequences  # after those tokens
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
        self,
        rows: Rows,
        *,
        chunk_size: int = DEFAULT_CHUNK,
        logits: Literal["last", "all"] = "last",
    ) -> list[Logits | None]:
        """Append ``rows[i]`` to row i and run the model over it, ``chunk_size`` tokens a step.

        Returns per row the logits [V] after its last token or, for ``logits="all"``, [n,V] after
        each; ``None`` for a row that was given no token. Raises ``InputError`` or
        ``CapacityError`` before anything is run.
        """
        _check_chunk_size(chunk_size)
        self._append(rows)
        # A generated token nobody has run yet runs with them; its logits were not asked for.
        results = self._run_pending(chunk_size, logits)
        for i, (row, result) in enumerate(zip(rows, results, strict=True)):
            if len(row) == 0:
                results[i] = None
            elif result is not None and logits == "all":
                results[i] = result[-len(row) :]
        return results

    def decode(self, tokens: Sequence[int | None]) -> list[Logits | None]:
        """Append one token to each row (``None``: leave the row alone); logits [V] per row."""
        return self.prefill([[] if token is None else [token] for token in tokens])

    def generate(
        self,
        prompts: Rows | None = None,
        *,
        max_new_tokens: int = 128,
        eos_token_ids: Collection[int] | None = None,
        chunk_size: int = DEFAULT_CHUNK,
        on_token: Callable[[int, int], None] = lambda row, token: None,
    ) -> list[list[int]]:
        """Append ``prompts``, then continue every row greedily; returns the new tokens per row.

        A row ends after ``max_new_tokens``, or with the first of ``eos_token_ids`` (by default the
        model's own), which is returned as its last token. A row without any token so far has
        nothing to continue and yields none. ``on_token(row, token)`` is called as tokens appear.
        """
        if max_new_tokens < 0:
            raise InputError(f"max_new_tokens is {max_new_tokens}, expected at least 0")
        _check_chunk_size(chunk_size)
        stop = set(self.engine.manifest.eos_token_ids if eos_token_ids is None else eos_token_ids)
        rows = [[]] * self.sequences if prompts is None else prompts
        self._append(rows, room=max(0, max_new_tokens - 1))
        self._run_pending(chunk_size, "last")
        fresh: list[list[int]] = [[] for _ in self.tokens]
        live = [row for row, logits in enumerate(self._logits) if logits is not None]
        while live and max_new_tokens > 0:
            for row in live:
                logits = self._logits[row]
                assert logits is not None, "a live row was just run"
                token = int(logits.argmax())
                self.tokens[row].append(token)
                self._logits[row] = None
                fresh[row].append(token)
                on_token(row, token)
            live = [r for r in live if fresh[r][-1] not in stop and len(fresh[r]) < max_new_tokens]
            if live:
                self._step({row: [fresh[row][-1]] for row in live}, "last")
        return fresh

    def _append(self, rows: Rows, room: int = 0) -> None:
        """Check and take over new tokens; all rows or none. ``room``: tokens to follow."""
        if self._lost:
            raise EngineError("this session lost its state when a step failed; open a new one")
        if len(rows) != self.sequences:
            raise InputError(f"got {len(rows)} rows for a session of {self.sequences} sequences")
        vocab = self.engine.manifest.vocab_size
        for i, row in enumerate(rows):
            for at, token in enumerate(row):
                if not isinstance(token, int | np.integer) or not 0 <= token < vocab:
                    raise InputError(
                        f"row {i}, token {at}: {token!r:.40} is not a token id below {vocab}"
                    )
            total = len(self.tokens[i]) + len(row)
            if total and total + room > self.context:
                raise CapacityError(
                    f"row {i}: {total} tokens and {room} to follow exceed the context of "
                    f"{self.context}; shorten the input or open the session with a larger context"
                )
        for history, row in zip(self.tokens, rows, strict=True):
            history.extend(int(token) for token in row)

    def _run_pending(self, chunk_size: int, logits: Literal["last", "all"]) -> list[Logits | None]:
        """Run every token the state has not seen yet."""
        parts: list[list[Logits]] = [[] for _ in self.tokens]
        while True:
            work = {
                row: history[seen : seen + chunk_size]
                for row, (history, seen) in enumerate(zip(self.tokens, self._lengths, strict=True))
                if len(history) > seen
            }
            if not work:
                break
            for row, result in self._step(work, logits).items():
                parts[row].append(result)
        if logits == "all":
            return [np.concatenate(part) if part else None for part in parts]
        return [part[-1][-1] if part else None for part in parts]

    def _step(
        self, work: dict[int, list[int]], logits: Literal["last", "all"]
    ) -> dict[int, Logits]:
        """Run the given tokens of the given rows in one step; logits [n,V] per row that has any.

        Rows that still have tokens to come get no logits unless all are wanted.
        """
        B, T = self.sequences, max(map(len, work.values()))
        lengths = np.zeros(B, dtype=np.int64)
        ids = np.zeros((B, T), dtype=np.int64)
        for row, tokens in work.items():
            lengths[row] = len(tokens)
            ids[row, : len(tokens)] = tokens
        positions = np.broadcast_to(self._lengths[:, None] + np.arange(T), (3, B, T)).copy()
        wanted = {row: self._wanted(row, tokens, logits) for row, tokens in work.items()}
        index = np.array([row * T + t for row in wanted for t in wanted[row]], dtype=np.int64)
        out = np.empty((len(index), self.engine.manifest.vocab_size), dtype=np.float32)

        # The caches are written over all T columns, padding included, from each row's length on.
        self._state.reserve(int(self._lengths.max()) + T, int(self._lengths.max()))
        step = (ids, positions, lengths, self._lengths, index)
        names = ("input_ids", "positions", "lengths", "past_lengths", "logit_index")
        self._lost = True  # in-place state is undefined until the step has succeeded
        self.engine.run_step(
            [*zip(names, step, strict=True), *self._state.inputs()],
            [("logits", out), *self._state.outputs()],
        )
        self._state.commit()
        self._lengths = self._lengths + lengths
        self._lost = False

        results: dict[int, Logits] = {}
        start = 0
        for row, picked in wanted.items():
            if picked:
                results[row] = out[start : start + len(picked)]
                start += len(picked)
                if self._lengths[row] == len(self.tokens[row]):
                    # A copy: the caller may well change in place what it is given.
                    self._logits[row] = results[row][-1].copy()
        return results

    def _wanted(self, row: int, tokens: list[int], logits: Literal["last", "all"]) -> list[int]:
        if logits == "all":
            return list(range(len(tokens)))
        is_last = self._lengths[row] + len(tokens) == len(self.tokens[row])
        return [len(tokens) - 1] if is_last else []


def _check_chunk_size(chunk_size: int) -> None:
    if chunk_size < 1:
        raise InputError(f"chunk_size is {chunk_size}, expected at least 1")
