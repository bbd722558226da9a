"""Who runs with whom, what each run is fed, and what must hold of the bookkeeping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaport.runtime import _native

SLOTS = 12
Work = tuple[int, list[int], int, int, int]
"""Row, tokens, tokens seen, first token after which logits are wanted, slot."""


@st.composite
def works(draw: st.DrawFn) -> list[Work]:
    """Tokens of some rows, which lie in neighbouring slots."""
    rows = draw(st.lists(st.integers(0, 40), unique=True, min_size=1, max_size=6))
    first = draw(st.integers(0, 5))
    found: list[Work] = []
    for at, row in enumerate(rows):
        tokens = draw(st.lists(st.integers(0, 2**40), min_size=1, max_size=draw(st.integers(1, 5))))
        wanted = draw(st.sampled_from([0, len(tokens) - 1, len(tokens)]))
        found.append((row, tokens, draw(st.integers(0, 2**40)), wanted, first + at))
    return found


@given(works(), st.lists(works(), max_size=1))
def test_arrays_of_a_run(rows: list[Work], before: list[list[Work]]) -> None:
    plan = _native.lay_out(rows, *before)
    B, T = len(rows), max(len(tokens) for _, tokens, *_ in rows)
    assert (plan["first_slot"], plan["width"]) == (rows[0][4], T)
    ids = np.reshape(plan["input_ids"], (B, T))
    positions = np.reshape(plan["positions"], (3, B, T))
    wanted = []
    for b, (_, tokens, past, first, _) in enumerate(rows):
        assert ids[b].tolist() == tokens + [0] * (T - len(tokens))
        assert (positions[:, b] == past + np.arange(T)).all()
        wanted += tokens[first:]
    assert plan["lengths"] == [len(tokens) for _, tokens, *_ in rows]
    assert plan["past"] == [past for _, _, past, *_ in rows]
    assert ids.reshape(-1)[plan["logit_index"]].tolist() == wanted
    # By row, and within a row by token: this is how logits are dealt out.
    assert plan["logit_index"] == sorted(set(plan["logit_index"]))


@given(works())
def test_a_ragged_decoder_runs_all_rows_at_once(rows: list[Work]) -> None:
    assert _native.group_rows(rows, True) == [rows]


@given(works())
def test_any_other_runs_no_padding(rows: list[Work]) -> None:
    groups = _native.group_rows(rows, False)
    assert sorted(row for group in groups for row in group) == sorted(rows)
    for group in groups:
        assert len(group) == 1 or all(len(tokens) == 1 for _, tokens, *_ in group)
    # As few runs as can be, and at most one that needs its rows side by side.
    singles = [row for row in rows if len(row[1]) == 1]
    assert len(groups) == len(rows) - max(len(singles) - 1, 0)
    assert not singles or singles in groups


@given(st.data(), st.integers(1, SLOTS))
def test_the_window_that_needs_the_fewest_moves(data: st.DataObject, slots: int) -> None:
    taken = data.draw(st.lists(st.integers(0, slots - 1), unique=True, min_size=1))

    def moves(first: int) -> int:
        return len(set(taken) - set(range(first, first + len(taken))))

    best = _native.best_window(taken, slots)
    assert 0 <= best <= slots - len(taken)
    assert moves(best) == min(map(moves, range(slots - len(taken) + 1)))


Row = tuple[list[int], int, int, int | None, bool]
"""Tokens, tokens seen, slot or -1, after how many tokens it has logits, whether they are kept."""

CLOSED: Row = ([], 0, -1, None, False)
FRESH: Row = ([], 0, 2, None, False)
FULL: Row = ([1, 2, 3], 3, 0, 3, True)
GOES_ON: Row = ([4, 0, 4, 1], 3, 3, 3, True)  # has chosen a token by its logits
ROWS = [FULL, CLOSED, FRESH, GOES_ON]
SLOT_ROWS = [0, -1, 2, 3]


def broken(
    rows: Sequence[Row] = ROWS, row_of_slot: Sequence[int] = SLOT_ROWS, **changes: int
) -> str:
    limits = {"capacity": 3, "context": 4, "vocab_size": 5} | changes
    return _native.broken_invariant(list(rows), list(row_of_slot), **limits)


def test_nothing_is_broken() -> None:
    assert broken() == ""
    assert broken([], []) == broken([], [-1, -1]) == broken([CLOSED], []) == ""


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (([1], 0, -1, None, False), "is closed but holds things"),
        (([], 1, -1, None, False), "is closed but holds things"),
        (([], 0, -1, 0, True), "is closed but holds things"),
        (([1, 2], 3, 0, None, False), "has a state of more tokens than it has"),
        (([1, 2], -1, 0, None, False), "has a state of more tokens than it has"),
        (([1, 2, 3, 4], 4, 0, None, False), "has more tokens in its state than caches have"),
        (([1, 2, 3, 4, 0], 3, 0, None, False), "has more tokens than the context"),
        (([1, 2, 3], 3, 0, 3, False), "has logits that nobody keeps"),
        (([1, 2, 3], 2, 0, 3, True), "has logits after a token its state lacks"),
        (([1, 5, 3], 3, 0, 3, True), "has a token that is none"),
        (([1, -1, 3], 3, 0, 3, True), "has a token that is none"),
        (([1], 1, 4, None, False), "lies in a slot that is not there"),
        (([1], 1, 1, None, False), "lies in another's slot"),
        (([1], 1, 2, None, False), "lies in another's slot"),
    ],
)
def test_a_row_that_is_broken_is_named(row: Any, problem: str) -> None:
    slots = SLOT_ROWS if row[2] == 0 else [-1, *SLOT_ROWS[1:]]
    assert broken([row, *ROWS[1:]], slots).startswith(f"row 0 {problem}")
    # Wherever it is among the rows.
    moved = [-1 if number < 0 else number + 1 for number in slots]
    last = [CLOSED, row, *ROWS[1:]]
    assert broken(last, moved).startswith(f"row 1 {problem}")


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ([0, 1, 2, 3], "slot 1 is held for a row that lies elsewhere"),  # a closed row
        ([0, 0, 2, 3], "slot 1 is held for a row that lies elsewhere"),
        ([0, 4, 2, 3], "slot 1 is held for a row that lies elsewhere"),
        ([0, -2, 2, 3], "slot 1 is held for a row that lies elsewhere"),
        ([2, -1, 0, 3], "row 0 lies in another's slot"),
        ([-1, -1, 2, 3], "row 0 lies in another's slot"),
        ([0, -1, 2], "row 3 lies in a slot that is not there"),
    ],
)
def test_slots_and_rows_agree(slots: list[int], message: str) -> None:
    assert broken(row_of_slot=slots) == message


def test_limits() -> None:
    assert broken(capacity=2).endswith(
        "row 0 has more tokens in its state than caches have columns"
    )
    assert broken(context=3) == "row 3 has more tokens than the context"
    assert broken(vocab_size=4) == "row 3 has a token that is none"
