"""A generation notices whatever was done to its row, also by way of another row's number."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.errors import InputError, StepCancelledError
from deltaport.runtime import Engine, Generation, PrefixCache, SamplingParams
from tests.greedy import greedy
from tests.runtime.toy_engine import toy_tokens

FREE = SamplingParams(max_new_tokens=6, ignore_eos=True)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(clears=st.integers(0, 6), later=st.integers(0, 6), steps=st.integers(1, 3))
def test_a_number_that_rewinding_has_borrowed(
    engine: Engine, clears: int, later: int, steps: int
) -> None:
    session = engine.session(2)
    session.prefill([[1], None])
    snapshot = session.snapshot(0)
    session.prefill([[2, 3], None])
    for _ in range(clears):
        session.clear(1)
    generation = Generation(session)
    generation.start(1, [4], FREE)
    for _ in range(steps):
        generation.step()
    length = len(session.tokens[1])
    session.close_row(1)
    session.rewind(0, 2, [snapshot])  # its steps run in row 1
    assert session.open_row() == 1
    for _ in range(later):
        session.clear(1)
    session.prefill([None, [9] * length])
    with pytest.raises(InputError, match="row 1 was changed while it was generated"):
        generation.step()


def test_a_first_step_that_fails_leaves_an_empty_row_empty(engine: Engine) -> None:
    session = engine.session(prefixes=PrefixCache(1 << 20, min_tokens=2))
    session.prefill([[3, 1, 4]])
    session.clear(0)
    session.cancel()
    with pytest.raises(StepCancelledError):
        session.prefill([[3, 1, 4, 2]])
    assert session.tokens == [[]]
    assert greedy(session, [[3, 1, 4, 2]], new=3, stop=()) == [toy_tokens([3, 1, 4, 2], 3, ())]


def test_a_cancel_that_comes_too_late_is_not_for_others(engine: Engine) -> None:
    """The first token is there without a step, so there is none to cancel."""
    session = engine.session()
    session.prefill([[1, 2]])

    async def first() -> None:
        async for _ in session.stream_async(params=FREE):
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.ensure_future(first())
        await asyncio.sleep(0)
        for _ in range(3):  # impatient, too
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    session.prefill([[3]])


def test_numbers_and_kinds_that_are_none(engine: Engine) -> None:
    session = engine.session()
    session.prefill([[1, 2]])
    with pytest.raises(InputError, match="count is 1180591620717411303424, expected an integer"):
        session.rewind(0, 1 << 70)
    with pytest.raises(InputError, match=r"budget is 11805.*, expected an integer, 0 to 9223"):
        PrefixCache(1 << 70)
    with pytest.raises(InputError, match="prefixes is 5, expected a PrefixCache"):
        engine.session(prefixes=5)  # type: ignore[arg-type]
