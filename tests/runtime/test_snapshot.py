"""A sequence that was set aside goes on exactly as it would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.errors import CapacityError, InputError
from deltaport.runtime import Engine, SamplingParams
from tests.greedy import greedy
from tests.runtime.step_observers import Steps, observed
from tests.runtime.toy_engine import POISON, toy_logits, toy_tokens, write_toy

TOKENS = st.lists(st.integers(0, POISON - 1), max_size=12)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(prompt=TOKENS, new=st.integers(0, 4), after=TOKENS, other=TOKENS, row=st.integers(0, 2))
def test_going_on_twice_gives_the_same(
    engine: Engine, prompt: list[int], new: int, after: list[int], other: list[int], row: int
) -> None:
    session, elsewhere = engine.session(2), engine.session(3)
    elsewhere.prefill([[1, 2], other, [3]])
    first = greedy(session, [other, prompt], new=new, stop=())[1]
    history = [*prompt, *first, *after]
    snapshot = session.snapshot(1)
    assert snapshot.tokens == (*prompt, *first)
    expected = toy_tokens(history, 5, ())
    assert greedy(session, [other, after], new=5, stop=())[1] == expected
    session.restore(1, snapshot)
    assert session.tokens[1] == [*prompt, *first]
    assert greedy(session, [None, after], new=5, stop=())[1] == expected
    elsewhere.restore(row, snapshot)
    rows: list[Any] = [None] * 3
    rows[row] = after
    assert greedy(elsewhere, rows, new=5, stop=())[row] == expected
    for untouched, tokens in enumerate([[1, 2], other, [3]]):
        if untouched != row:
            assert elsewhere.tokens[untouched] == tokens


def test_a_prompt_that_is_only_partly_read(engine: Engine) -> None:
    session = engine.session()
    stream = session.stream([[1] * 9], SamplingParams(ignore_eos=True), chunk_size=4)
    session.native.step([0], 4, False)
    snapshot = session.snapshot(0)
    assert (len(snapshot.tokens), snapshot.length, snapshot.logits) == (9, 4, None)
    next(stream)
    session.restore(0, snapshot)
    assert greedy(session, new=3, stop=()) == [toy_tokens([1] * 9, 3, ())]


def test_new_tokens_make_the_logits_before_them_void(engine: Engine) -> None:
    session = engine.session()
    session.prefill([[1, 2]])
    session.stream([[3]])  # is not run
    assert session.snapshot(0).logits is None


def test_a_snapshot_is_a_copy_of_what_is_used(engine: Engine) -> None:
    session = engine.session(2)
    session.prefill([[1, 2, 3], [4] * 200])
    snapshot = session.snapshot(0)
    assert {name: array.shape for name, array in snapshot.state.items()} == {
        "past.0.key": (1, 3, 1),
        "past.1.recurrent": (1,),
    }
    assert snapshot.nbytes == 8 * 3 + 4 * (3 + 1) + toy_logits([1])[0].nbytes
    kept = {name: array.copy() for name, array in snapshot.state.items()}
    session.prefill([[9], None])
    session.clear(0)
    session.prefill([[8, 8, 8], None])
    for name, array in snapshot.state.items():
        np.testing.assert_array_equal(array, kept[name])
    session.restore(0, snapshot)
    session.restore(1, snapshot)
    session.prefill([[7], None])
    assert greedy(session, new=2, stop=()) == [
        toy_tokens([1, 2, 3, 7], 2, ()),
        toy_tokens([1, 2, 3], 2, ()),
    ]


def test_caches_grow_for_what_is_restored(engine: Engine) -> None:
    long = engine.session()
    long.prefill([[2] * 700])
    snapshot = long.snapshot(0)
    session = engine.session(2)
    session.prefill([None, [5]])
    session.restore(0, snapshot)
    assert session.state.capacity == 1024
    assert greedy(session, [[3], []], new=2, stop=()) == [
        toy_tokens([2] * 700 + [3], 2, ()),
        toy_tokens([5], 2, ()),
    ]


@pytest.mark.parametrize("filled", [0, 1, 300])
def test_a_cleared_row_is_like_a_new_one(engine: Engine, filled: int) -> None:
    session = engine.session(2)
    session.prefill([[6] * filled, [1]])
    session.clear(0)
    assert (session.tokens, session.lengths) == ([[], [1]], [0, 1])
    assert greedy(session, new=3, stop=()) == [[], toy_tokens([1], 3, ())]
    assert greedy(session, [[4, 4], None], new=3, stop=())[0] == toy_tokens([4, 4], 3, ())


def test_a_row_that_is_not_there(engine: Engine) -> None:
    session = engine.session(2)
    snapshot = session.snapshot(1)
    for call in (session.clear, session.snapshot, lambda row: session.restore(row, snapshot)):
        for row in (-1, 2, True, None):
            with pytest.raises(InputError, match=f"row is {row}, expected an integer, 0 to 1"):
                call(row)  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused(engine: Engine, tmp_path: Path) -> None:
    session = engine.session()
    session.prefill([[1] * 9])
    snapshot = session.snapshot(0)
    small = engine.session(context=8)
    small.prefill([[2]])
    with pytest.raises(CapacityError, match="9 tokens, which exceed the context of 8"):
        small.restore(0, snapshot)
    other = Engine.open(write_toy(tmp_path / "other", model={"another": 1})).session()
    with pytest.raises(InputError, match=r"taken with another engine than .*other"):
        other.restore(0, snapshot)
    for wrong in (None, [1], {}):
        with pytest.raises(InputError, match=r"expected what Session\.snapshot gave"):
            small.restore(0, wrong)  # type: ignore[arg-type]
    assert small.tokens == [[2]]
    again = Engine.open(write_toy(tmp_path / "same")).session()
    again.restore(0, snapshot)
    assert greedy(again, new=2, stop=()) == [toy_tokens([1] * 9, 2, ())]


def test_logits_go_with_the_snapshot(engine: Engine) -> None:
    session = engine.session()
    session.prefill([[1, 2]])
    with observed(engine, Steps()) as steps:
        other = engine.session()
        other.restore(0, session.snapshot(0))
        assert greedy(other, new=1, stop=()) == [toy_tokens([1, 2], 1, ())]
    assert not steps.inputs
