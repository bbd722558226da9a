"""What runs of the decoder are fed, worked out from who has tokens to run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deltaport.decoder_interface import STEP_INPUTS

__all__ = ["StepPlan", "plan_step", "plan_steps"]


@dataclass(frozen=True)
class StepPlan:
    """One run over neighbouring ``slots``, and its arrays.

    ``picks`` says which logits belong to whom, in the order asked for.
    """

    slots: slice
    inputs: dict[str, NDArray[np.int64]]
    picks: dict[int, int]
    """Row to number of logit rows, rows without any left out."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens each slot runs, [B]."""
        return self.inputs["lengths"]

    @property
    def width(self) -> int:
        """T: tokens of the longest row."""
        return int(self.inputs["input_ids"].shape[1])

    @property
    def logit_rows(self) -> int:
        """R: how many logit rows the run gives."""
        return sum(self.picks.values())


def plan_steps(
    work: Mapping[int, Sequence[int]],
    past_lengths: NDArray[np.int64],
    wanted: Mapping[int, Sequence[int]],
    *,
    ragged: bool,
) -> Iterator[StepPlan]:
    """Run ``work[row]`` (token ids, at least one) after ``past_lengths[row]`` tokens, each once.

    ``wanted[row]`` lists the positions within the row's tokens after which logits are wanted. A
    ``ragged`` decoder runs all rows at once, idle ones too. Others take several tokens of a single
    row, or one token each of neighbours none of whom is idle.
    """
    if ragged:
        yield plan_step(work, past_lengths, wanted, slice(0, len(past_lengths)))
        return
    for slots in _full_slots(work):
        rows = range(slots.start, slots.stop)
        yield plan_step(
            {row: work[row] for row in rows},
            past_lengths,
            {row: wanted[row] for row in rows if row in wanted},
            slots,
        )


def _full_slots(work: Mapping[int, Sequence[int]]) -> list[slice]:
    """Slots to run together, so that every one of them has as many tokens as the others."""
    found: list[slice] = []
    for row in sorted(work):
        single = len(work[row]) == 1
        if found and found[-1].stop == row and single and len(work[row - 1]) == 1:
            found[-1] = slice(found[-1].start, row + 1)
        else:
            found.append(slice(row, row + 1))
    return found


def plan_step(
    work: Mapping[int, Sequence[int]],
    past_lengths: NDArray[np.int64],
    wanted: Mapping[int, Sequence[int]],
    slots: slice,
) -> StepPlan:
    """One run over ``slots``, which hold all rows of ``work``; else as :func:`plan_steps`."""
    past = past_lengths[slots].copy()
    first, B, T = slots.start, len(past), max(map(len, work.values()))
    lengths = np.zeros(B, dtype=np.int64)
    ids = np.zeros((B, T), dtype=np.int64)
    for row, tokens in work.items():
        lengths[row - first] = len(tokens)
        ids[row - first, : len(tokens)] = tokens
    positions = np.broadcast_to(past[:, None] + np.arange(T), (3, B, T)).copy()
    index = [(row - first) * T + t for row in wanted for t in wanted[row]]
    arrays = (ids, positions, lengths, past, np.array(index, dtype=np.int64))
    return StepPlan(
        slots=slots,
        inputs=dict(zip(STEP_INPUTS, arrays, strict=True)),
        picks={row: len(positions) for row, positions in wanted.items() if positions},
    )
