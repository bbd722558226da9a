"""The ways of running a kernel that must all give the same bits.

One thread or two; the state in the buffer it came in or in another; a row alone, without padding,
or with others beside it; and where an op knows no rows, a token alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from deltaport.custom_ops.definitions import OpDefinition
from tests.oracles import Array

__all__ = ["STATES", "assert_same_bits", "run_every_way"]

Feeds = Mapping[str, Array]
STATES = {"new_state": "state", "present_key": "past_key", "present_value": "past_value"}
"""Outputs that may lie where an input does."""


class Run(Protocol):
    """Runs an op."""

    def __call__(
        self, feeds: Feeds, *, threads: int = 2, in_place: bool = False
    ) -> tuple[Array, ...]: ...


def assert_same_bits(actual: Array, expected: Array) -> None:
    """Check equality that tells -0.0 from 0.0."""
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(
        np.ascontiguousarray(actual).view(np.uint8), np.ascontiguousarray(expected).view(np.uint8)
    )


def run_every_way(op: OpDefinition, feeds: Feeds, run: Run) -> tuple[Array, ...]:
    """What ``run`` gives, after checking that every other way gives the same."""
    whole = run(feeds)
    _check_same(op, feeds, run(feeds, threads=1), whole)
    if any(port.name in STATES for port in op.outputs):
        _check_same(op, feeds, run(feeds, in_place=True), whole)
    n_rows = len(whole[0])
    if "lengths" in feeds and n_rows > 1:
        for row in range(n_rows):
            _check_row(op, feeds, run, row, 0, max(1, int(feeds["lengths"][row])), whole)
    elif "lengths" not in feeds and whole[0].shape[1] > 1:
        _check_row(op, feeds, run, n_rows - 1, whole[0].shape[1] - 1, 1, whole)
    return whole


def _check_row(
    op: OpDefinition,
    feeds: Feeds,
    run: Run,
    row: int,
    first: int,
    tokens: int,
    whole: tuple[Array, ...],
) -> None:
    """Check that ``tokens`` of a row from the ``first`` on give the same alone."""

    def part(array: Array, shape: str) -> Array:
        dims = shape.split(",")
        if dims[0] != "B":
            return array
        of_row: Array = array[row : row + 1]
        return of_row[:, first : first + tokens] if "T" in dims else of_row

    alone = {port.name: part(feeds[port.name], port.shape) for port in op.inputs}
    expected = tuple(
        part(output, port.shape) for output, port in zip(whole, op.outputs, strict=True)
    )
    _check_same(op, alone, run(alone), expected)


def _check_same(
    op: OpDefinition, feeds: Feeds, actual: tuple[Array, ...], expected: tuple[Array, ...]
) -> None:
    for port, one, other in zip(op.outputs, actual, expected, strict=True):
        if not port.name.startswith("present"):
            assert_same_bits(one, other)
            continue
        # Cache beyond the tokens there are is unspecified.
        used = feeds["past_lengths"] + feeds["lengths"]
        for row, n in enumerate(used):
            assert_same_bits(one[row, :, :n], other[row, :, :n])
