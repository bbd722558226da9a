"""Tokens and state of rows that share the steps of a decoder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deltaport.decoder_interface import LOGITS
from deltaport.errors import CapacityError, EngineError
from deltaport.runtime.engine import Engine
from deltaport.runtime.snapshot import Snapshot
from deltaport.runtime.state_buffers import StateBuffers
from deltaport.runtime.step_plan import StepPlan, plan_steps

__all__ = ["INITIAL_CAPACITY", "LARGEST_STEP", "SMALLEST_STEP", "Batch", "Logits", "Which"]

Logits = NDArray[np.float32]
Which = Literal["last", "all"]

INITIAL_CAPACITY = 256
LARGEST_STEP = 512
"""Most tokens a row runs per step unless the caller says otherwise: enough to keep a CPU busy."""
SMALLEST_STEP = 16
MOST_TOKENS = 8 * LARGEST_STEP
"""Most tokens of all rows per step, padding included, unless told otherwise: a step holds some
activations for each, tens of kilobytes."""
SCORE_CELLS = 1 << 21
"""Attention scores (rows x tokens x columns, per head) a step may hold unless told otherwise.

The portable attention holds a few float32 arrays of that size per head, so at long contexts steps
shrink: 8 MiB a head and array. Our kernels hold none, and small steps would read every weight more
often for nothing.
"""


class Batch:
    """What a session carries: per row its tokens, how many of them its state has seen, the state.

    Arguments are taken as checked; that is the part of ``Session`` and ``Generation``.
    """

    def __init__(self, engine: Engine, sequences: int, context: int) -> None:
        self.engine = engine
        self.context = context
        self.tokens: list[list[int]] = [[] for _ in range(sequences)]
        self.lengths = np.zeros(sequences, dtype=np.int64)  # tokens each row's state has seen
        self.logits: list[Logits | None] = [None] * sequences  # after a row's last token
        capacity = min(INITIAL_CAPACITY, context)
        self.state = StateBuffers(engine.manifest.state, sequences, capacity)
        self._lost = False

    def check_usable(self) -> None:
        """EngineError once a step has failed: in-place state is undefined then."""
        if self._lost:
            raise EngineError("this session lost its state when a step failed; open a new one")

    def append(
        self,
        given: Mapping[int, Sequence[int]],
        follow: Mapping[int, int],
        chunk_size: int | None,
    ) -> None:
        """Make room, and only then take over the ``given`` tokens: all rows or none.

        ``follow``: tokens to come after that, which rows must have room for. A row without any
        token has none to follow. Raises ``CapacityError``.
        """
        longest = widest = 1
        for row, history in enumerate(self.tokens):
            fresh = len(given.get(row, ()))
            total = len(history) + fresh
            more = follow.get(row, 0) if total else 0
            if (fresh or more) and total + more > self.context:
                raise CapacityError(
                    f"row {row}: {total} tokens and {more} to follow exceed the context of "
                    f"{self.context}; shorten the input or open the session with a larger context"
                )
            longest = max(longest, total + more)
            widest = max(widest, total - int(self.lengths[row]))
        # A step writes the caches over all its columns, padding included, from each row's length
        # on: beside other rows, the longest may need room for padding as wide as a step.
        padding = min(widest, chunk_size or LARGEST_STEP) if len(self.tokens) > 1 else 0
        self._reserve(longest + padding)
        for row, tokens in given.items():
            if tokens:
                self.tokens[row].extend(tokens)
                self.logits[row] = None

    def waiting(self, rows: Collection[int]) -> list[int]:
        """Those of ``rows`` with tokens their state has not seen."""
        return [row for row in rows if len(self.tokens[row]) > self.lengths[row]]

    def step(
        self, rows: Collection[int], chunk_size: int | None, which: Which = "last"
    ) -> dict[int, Logits]:
        """Run the next tokens of waiting ``rows``; logits [n,V] per row that gets any.

        Rows that still have tokens to come get none unless all are wanted.
        """
        width = chunk_size or self._step_width()
        work: dict[int, list[int]] = {}
        wanted: dict[int, Sequence[int]] = {}
        for row in rows:
            seen = int(self.lengths[row])
            tokens = work[row] = self.tokens[row][seen : seen + width]
            last = [len(tokens) - 1] if seen + len(tokens) == len(self.tokens[row]) else []
            wanted[row] = range(len(tokens)) if which == "all" else last
        plans = list(plan_steps(work, self.lengths, wanted, ragged=self.engine.manifest.ragged))
        self._reserve(int(self.lengths.max()) + max(plan.width for plan in plans))
        self._lost = True  # in-place state is undefined until the step is done with
        found: dict[int, Logits] = {}
        for plan in plans:
            found |= self._run(plan)
        for plan in plans:  # only now: a run that fails leaves what can be left as it was
            self.state.commit(plan.slots)
            self.lengths[plan.slots] += plan.lengths
        results = {row: found[row] for row in wanted if row in found}
        for row, result in results.items():
            if self.lengths[row] == len(self.tokens[row]):
                # A copy: the caller may well change in place what it is given.
                self.logits[row] = result[-1].copy()
        self._lost = False
        return results

    def _run(self, plan: StepPlan) -> dict[int, Logits]:
        out = np.empty((plan.logit_rows, self.engine.manifest.vocab_size), dtype=np.float32)
        self.engine.run_step(
            [*plan.inputs.items(), *self.state.inputs(plan.slots)],
            [(LOGITS, out), *self.state.outputs(plan.slots)],
        )
        ends = np.cumsum(list(plan.picks.values()))[:-1]
        return dict(zip(plan.picks, np.split(out, ends), strict=True)) if plan.picks else {}

    def extend(self, row: int, token: int) -> None:
        """Go on with ``token``, chosen by the row's logits, which are used up."""
        self.tokens[row].append(token)
        self.logits[row] = None

    def clear(self, row: int) -> None:
        """An empty sequence, as at first."""
        self.state.clear(row)
        self.tokens[row], self.lengths[row], self.logits[row] = [], 0, None

    def snapshot(self, row: int) -> Snapshot:
        """A copy of all that belongs to ``row``."""
        length, logits = int(self.lengths[row]), self.logits[row]
        return Snapshot(
            manifest=self.engine.manifest,
            tokens=tuple(self.tokens[row]),
            length=length,
            logits=None if logits is None else logits.copy(),
            state=self.state.copy(row, length),
        )

    def restore(self, row: int, snapshot: Snapshot) -> None:
        """Make ``row`` what it was; CapacityError, and nothing changed, if memory does not last."""
        self._reserve(snapshot.length)
        self.state.write(row, snapshot.state, snapshot.length)
        logits = snapshot.logits
        self.tokens[row], self.lengths[row] = list(snapshot.tokens), snapshot.length
        self.logits[row] = None if logits is None else logits.copy()

    def _reserve(self, columns: int) -> None:
        self.state.reserve(columns, used=int(self.lengths.max()))

    def _step_width(self) -> int:
        most = MOST_TOKENS
        if self.engine.holds_scores:
            most = min(most, SCORE_CELLS // (int(self.lengths.max()) + LARGEST_STEP))
        return max(SMALLEST_STEP, min(LARGEST_STEP, most // len(self.tokens)))
