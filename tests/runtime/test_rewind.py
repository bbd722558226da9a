"""Rows that are wound back: exactly what they were, or a typed error and what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.errors import InputError
from deltaport.runtime import Engine, PrefixCache, Session, Snapshot
from tests.greedy import greedy
from tests.runtime.step_observers import Steps, observed
from tests.runtime.toy_engine import POISON, toy_tokens, write_toy

TOKENS = st.lists(st.integers(0, POISON - 1), min_size=1, max_size=9)


def seen(session: Session, row: int) -> tuple[list[int], int, list[int], int]:
    """All there is to see of a row, its future included."""
    twin = session.engine.session()
    twin.restore(0, session.snapshot(row))
    future = greedy(twin, [[1]], new=3, stop=())[0]
    return session.tokens[row], session.lengths[row], future, session.native.row_bytes(row)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(parts=st.lists(TOKENS, min_size=1, max_size=4), new=st.integers(0, 3), data=st.data())
def test_any_position_is_reached_or_refused(
    engine: Engine, parts: list[list[int]], new: int, data: st.DataObject
) -> None:
    session = engine.session(2)
    session.prefill([None, [3, 2, 1]])
    snapshots = [(session.snapshot(0), 1)]
    for part in parts:  # what a snapshot of a row with a token not run covers begins one later
        greedy(session, [part, None], new=new, stop=())
        snapshots.append((session.snapshot(0), len(session.tokens[0])))
    offered = data.draw(st.lists(st.sampled_from(snapshots), max_size=3))
    tokens = session.tokens[0]
    count = data.draw(st.integers(0, len(tokens)))
    before = seen(session, 0)
    covered = count in (0, len(tokens)) or any(first <= count for _, first in offered)
    if not covered:
        with pytest.raises(InputError, match=f"row 0 cannot be wound back to {count} tokens"):
            session.rewind(0, count, [snapshot for snapshot, _ in offered])
        assert seen(session, 0) == before
        return
    session.rewind(0, count, [snapshot for snapshot, _ in offered])
    assert session.tokens == [tokens[:count], [3, 2, 1]]
    if count < len(tokens):
        assert session.lengths[0] == count
    assert session.native.broken() == ""
    found = greedy(session, [[7] if count == 0 else [], []], new=4, stop=())
    assert found == [toy_tokens(tokens[:count] or [7], 4, ()), toy_tokens([3, 2, 1], 4, ())]


def test_the_longest_that_covers_is_used(engine: Engine) -> None:
    with observed(engine, Steps()) as steps:
        session = engine.session()
        snapshots = []
        for part in ([1] * 5, [2] * 5, [3] * 5):
            session.prefill([part])
            snapshots.append(session.snapshot(0))
        ran = steps.tokens
        session.rewind(0, 12, reversed(snapshots))
    assert steps.tokens - ran == 2
    assert greedy(session, new=3, stop=()) == [toy_tokens([1] * 5 + [2] * 5 + [3] * 2, 3, ())]


def test_what_others_said_covers_nothing(engine: Engine, tmp_path: Path) -> None:
    session = engine.session(2)
    session.prefill([[1, 2, 3, 4], [1, 2, 4]])
    other = Engine.open(write_toy(tmp_path / "other", model={"another": 1})).session()
    other.prefill([[1, 2]])
    with pytest.raises(InputError, match="no snapshot was taken of these"):
        session.rewind(0, 3, [session.snapshot(1)])
    with pytest.raises(InputError, match="taken with another engine"):
        session.rewind(0, 3, [other.snapshot(0)])
    for count in (-1, 5, True, None):
        with pytest.raises(InputError, match=r"count is|cannot be wound back to 5"):
            session.rewind(0, count)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"expected what Session\.snapshot gave"):
        session.rewind(0, 2, [None])  # type: ignore[list-item]
    assert session.tokens == [[1, 2, 3, 4], [1, 2, 4]]


def test_a_step_that_fails_changes_nothing(engine: Engine) -> None:
    def fail(number: int) -> None:
        if number == 5:
            raise KeyboardInterrupt

    with observed(engine, Steps(break_at=fail)):
        session = engine.session()
        session.prefill([[1]])
        start = session.snapshot(0)
        session.prefill([[2] * 800])  # two steps; the second of the rewind fails
        with pytest.raises(KeyboardInterrupt):
            session.rewind(0, 700, [start])
    assert session.tokens == [[1] + [2] * 800]
    assert greedy(session, new=3, stop=()) == [toy_tokens([1] + [2] * 800, 3, ())]


def test_from_a_file_and_from_the_prefix_cache(engine: Engine, tmp_path: Path) -> None:
    session = engine.session(prefixes=PrefixCache(1 << 20, min_tokens=4))
    session.prefill([[5] * 6])
    session.snapshot(0).save(tmp_path / "file")
    greedy(session, new=6, stop=())
    session.rewind(0, 8)  # what the cache kept at 6
    assert session.tokens[0] == [5] * 6 + toy_tokens([5] * 6, 2, ())
    plain = engine.session()
    plain.prefill([[5] * 9])
    plain.rewind(0, 7, [Snapshot.load(tmp_path / "file", engine)])
    assert greedy(plain, new=3, stop=()) == [toy_tokens([5] * 7, 3, ())]


def test_a_generation_sees_that_its_row_was_wound_back(engine: Engine) -> None:
    session = engine.session()
    session.prefill([[4, 4]])
    snapshot = session.snapshot(0)
    stream = session.stream()
    next(stream)
    session.rewind(0, 2, [snapshot])
    with pytest.raises(InputError, match="was changed while it was generated"):
        next(stream)
