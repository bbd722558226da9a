"""The shapes a plan's inputs may have, for each kind of step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deltaport.decoder_interface import STEP_INPUTS
from deltaport.state_layout import StateLayout

__all__ = ["Shapes", "StepKind", "step_kinds"]

Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""The smallest, the most usual, and the largest shape."""


@dataclass(frozen=True)
class StepKind:
    """A profile of the plan: what sizes its steps have; (smallest, usual, largest) of each."""

    name: str
    batch: tuple[int, int, int]
    tokens: tuple[int, int, int]
    rows: tuple[int, int, int]

    def shapes(self, layout: StateLayout, capacity: int) -> Iterator[tuple[str, Shapes]]:
        """Every input of the decoder by name."""
        sizes: Mapping[str, tuple[int, int, int]] = {
            "batch": self.batch,
            "tokens": self.tokens,
            "rows": self.rows,
        }
        for name, dims in STEP_INPUTS.items():
            yield name, _shapes(dims, sizes)
        for tensor in layout:
            smallest, usual, largest = (
                tensor.concrete_shape(slots, capacity) for slots in self.batch
            )
            yield tensor.input, (smallest, usual, largest)


def step_kinds(slots: int, prefill_tokens: int) -> tuple[StepKind, StepKind]:
    """Decode: a token of each of several sequences. Prefill: tokens of one, all of them real.

    The plan has a profile for each, in this order.
    """
    return (
        StepKind("decode", (1, 1, slots), (1, 1, 1), (1, 1, slots)),
        StepKind("prefill", (1, 1, 1), (1, prefill_tokens, prefill_tokens), (1, 1, prefill_tokens)),
    )


def _shapes(dims: tuple[int | str, ...], sizes: Mapping[str, tuple[int, int, int]]) -> Shapes:
    smallest, usual, largest = (
        tuple(sizes[dim][i] if isinstance(dim, str) else dim for dim in dims) for i in range(3)
    )
    return smallest, usual, largest
