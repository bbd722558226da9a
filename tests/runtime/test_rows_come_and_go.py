"""Rows that are opened, forked and closed, and streams for event loops."""

from __future__ import annotations

import asyncio
import threading

import pytest

from deltaport.errors import CapacityError, InputError, StepCancelledError
from deltaport.runtime import Engine, Generation, SamplingParams
from tests.greedy import greedy
from tests.runtime.step_observers import Steps, observed
from tests.runtime.toy_engine import toy_tokens

FREE = SamplingParams(max_new_tokens=6, ignore_eos=True)


def test_the_lowest_number_is_given_again(engine: Engine) -> None:
    session = engine.session(2)
    assert [session.open_row() for _ in range(3)] == [2, 3, 4]
    session.close_row(1)
    session.close_row(3)
    assert [session.is_open(row) for row in range(6)] == [True, False, True, False, True, False]
    assert [session.open_row() for _ in range(3)] == [1, 3, 5]
    assert session.sequences == 6


def test_a_row_that_was_closed_leaves_nothing_behind(engine: Engine) -> None:
    session = engine.session()
    for prompt in ([1, 2, 3], [4], [5, 6] * 200):
        assert greedy(session, [prompt], new=3, stop=()) == [toy_tokens(prompt, 3, ())]
        session.close_row(0)
        assert session.tokens == [[]]
        assert session.open_row() == 0


def test_a_fork_goes_its_own_way(engine: Engine) -> None:
    session = engine.session()
    session.prefill([[1, 2, 3]])
    forks = [session.fork(0) for _ in range(5)]  # the slots must grow meanwhile
    rows = [[row + 4] for row in range(len(forks) + 1)]
    found = greedy(session, rows, new=5, stop=())
    assert found == [toy_tokens([1, 2, 3, *row], 5, ()) for row in rows]


def test_a_fork_has_the_logits_too(engine: Engine) -> None:
    session = engine.session()
    session.prefill([[1, 2]])
    row = session.fork(0)
    session.close_row(0)
    assert greedy(session, [None, []], new=3, stop=())[row] == toy_tokens([1, 2], 3, ())


def test_rows_join_a_generation_in_numbers_that_were_not_there(engine: Engine) -> None:
    session = engine.session()
    generation = Generation(session)
    generation.start(0, [1], FREE)
    generation.step()
    row = session.open_row()
    generation.start(row, [2, 3], FREE)
    while generation.live:
        generation.step()
    assert session.tokens == [[1, *toy_tokens([1], 6, ())], [2, 3, *toy_tokens([2, 3], 6, ())]]


def test_a_row_closed_while_it_is_generated(engine: Engine) -> None:
    session = engine.session(2)
    generation = Generation(session)
    generation.start_all({0: ([1], FREE), 1: ([2], FREE)})
    generation.step()
    session.close_row(1)
    with pytest.raises(InputError, match="row 1 was changed while it was generated"):
        generation.step()
    generation.cancel(1)
    while generation.live:
        generation.step()
    assert session.tokens[0] == [1, *toy_tokens([1], 6, ())]


def test_prompts_for_closed_rows_are_refused(engine: Engine) -> None:
    session = engine.session(2)
    session.close_row(1)
    with pytest.raises(InputError, match="row is 1, which is not open"):
        session.generate([[1], [2]], FREE)
    assert session.tokens == [[], []]
    assert len(session.generate([[1], None], FREE)[0].tokens) == 6


def test_memory_goes_back(engine: Engine) -> None:
    session = engine.session(3)
    empty = session.state.nbytes
    session.prefill([[1] * 1000, [2], None])
    assert session.state.nbytes >= empty + 4 * 1001
    session.clear(0)
    session.clear(1)
    assert session.state.nbytes == empty
    with pytest.raises(CapacityError):
        session.prefill([[1] * 2000, None, None])
    assert session.state.nbytes == empty


def test_an_async_stream_gives_what_a_stream_gives(engine: Engine) -> None:
    async def collect() -> list[tuple[int, int]]:
        stream = engine.session(2).stream_async([[1, 2], [3]], FREE)
        return [(event.row, event.token) async for event in stream]

    expected = [(e.row, e.token) for e in engine.session(2).stream([[1, 2], [3]], FREE)]
    assert asyncio.run(collect()) == expected


def test_async_streams_check_before_anything_has_changed(engine: Engine) -> None:
    session = engine.session()

    async def ask() -> None:
        async for _ in session.stream_async([[99]], FREE):
            pass

    with pytest.raises(InputError, match="row 0, token 0"):
        asyncio.run(ask())
    assert session.tokens == [[]]


def test_a_task_that_is_cancelled_ends_its_step(engine: Engine) -> None:
    running, go_on = threading.Event(), threading.Event()

    def wait(step: int) -> None:
        if step == 3:
            running.set()
            go_on.wait(10)

    with observed(engine, Steps(wait)):
        session = engine.session()
    seen: list[int] = []

    async def tell() -> None:
        async for event in session.stream_async([[1, 2]], FREE):
            seen.append(event.token)

    async def main() -> None:
        task = asyncio.create_task(tell())
        await asyncio.to_thread(running.wait, 10)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == toy_tokens([1, 2], 2, ())
    assert session.tokens == [[1, 2, *seen]]
    assert greedy(session, new=3, stop=()) == [toy_tokens([1, 2, *seen], 3, ())]


def test_a_cancel_between_steps_ends_the_next_one_and_no_other(engine: Engine) -> None:
    session = engine.session()
    stream = session.stream([[1, 2]], FREE)
    first = next(stream).token
    session.cancel()
    with pytest.raises(StepCancelledError):
        next(stream)
    rest = greedy(session, new=2, stop=())[0]
    assert [first, *rest] == toy_tokens([1, 2], 3, ())
