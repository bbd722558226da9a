"""What one run of the decoder is fed, worked out from who has tokens to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deltaport.decoder_interface import STEP_INPUTS

__all__ = ["StepPlan", "plan_step"]


@dataclass(frozen=True)
class StepPlan:
    """The arrays of a step. ``picks`` says which logits belong to whom, in the order asked for."""

    inputs: dict[str, NDArray[np.int64]]
    picks: dict[int, int]
    """Row to number of logit rows, rows without any left out."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens each row runs, [B]."""
        return self.inputs["lengths"]

    @property
    def width(self) -> int:
        """T: tokens of the longest row."""
        return int(self.inputs["input_ids"].shape[1])

    @property
    def logit_rows(self) -> int:
        """R: how many logit rows the step gives."""
        return sum(self.picks.values())


def plan_step(
    work: Mapping[int, Sequence[int]],
    past_lengths: NDArray[np.int64],
    wanted: Mapping[int, Sequence[int]],
) -> StepPlan:
    """Run ``work[row]`` (token ids, at least one) after ``past_lengths[row]`` tokens.

    ``wanted[row]`` lists the positions within the row's tokens after which logits are wanted.
    """
    B, T = len(past_lengths), max(map(len, work.values()))
    lengths = np.zeros(B, dtype=np.int64)
    ids = np.zeros((B, T), dtype=np.int64)
    for row, tokens in work.items():
        lengths[row] = len(tokens)
        ids[row, : len(tokens)] = tokens
    positions = np.broadcast_to(past_lengths[:, None] + np.arange(T), (3, B, T)).copy()
    index = np.array([row * T + t for row in wanted for t in wanted[row]], dtype=np.int64)
    arrays = (ids, positions, lengths, past_lengths, index)
    return StepPlan(
        inputs=dict(zip(STEP_INPUTS, arrays, strict=True)),
        picks={row: len(positions) for row, positions in wanted.items() if positions},
    )
