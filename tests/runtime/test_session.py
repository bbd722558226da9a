"""What a session yields, against the same maths in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deltaport.errors import EngineError
from deltaport.runtime import Engine, SamplingParams
from deltaport.runtime.step_limits import LIMITS
from tests.greedy import greedy
from tests.runtime.step_observers import Steps, observed
from tests.runtime.toy_engine import EOS, POISON, VOCAB, toy_logits, toy_tokens, write_toy

PROMPTS = [[1, 2, 3], [], [7], [4, 4, 4, 4, 4]]


def assert_equal(found: Any, expected: Any) -> None:
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def sequence(length: int, seed: int = 0) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(0, POISON, length)]


def test_prefill_gives_the_last_logits_of_every_row(engine: Engine) -> None:
    results = engine.session(4).prefill(PROMPTS)
    for prompt, logits in zip(PROMPTS, results, strict=True):
        if prompt:
            assert_equal(logits, toy_logits(prompt)[-1])
        else:
            assert logits is None


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 512])
def test_prefill_gives_all_logits_of_every_row(engine: Engine, chunk_size: int) -> None:
    results = engine.session(4).prefill(PROMPTS, chunk_size=chunk_size, logits="all")
    for prompt, logits in zip(PROMPTS, results, strict=True):
        if prompt:
            assert_equal(logits, toy_logits(prompt))
        else:
            assert logits is None


@pytest.mark.parametrize("chunk_size", [1, 2, 7, 64, 511, 512, 513, 10_000])
def test_chunks_do_not_change_the_result(engine: Engine, chunk_size: int) -> None:
    long, short = sequence(600), sequence(9, seed=1)
    session = engine.session(2)
    results = session.prefill([long, short], chunk_size=chunk_size)
    assert_equal(results[0], toy_logits(long)[-1])
    assert_equal(results[1], toy_logits(short)[-1])
    assert greedy(session, new=3, chunk_size=chunk_size) == [
        toy_tokens(long, 3),
        toy_tokens(short, 3),
    ]


def test_numpy_rows_are_rows(engine: Engine) -> None:
    rows = np.array([[1, 2], [3, 4]])
    session = engine.session(2)
    for row, logits in zip(rows, session.prefill(rows, logits="all"), strict=True):
        assert_equal(logits, toy_logits(row))
    assert greedy(session, rows, new=2) == [toy_tokens([*row, *row], 2) for row in rows.tolist()]
    assert all(type(token) is int for row in session.tokens for token in row)


def test_decode_leaves_a_row_given_none_untouched(engine: Engine) -> None:
    session = engine.session(2)
    session.prefill([[1], [2]])
    logits, nothing = session.decode([3, None])
    assert_equal(logits, toy_logits([1, 3])[-1])
    assert nothing is None
    nothing, logits = session.decode([None, 4])
    assert nothing is None
    assert_equal(logits, toy_logits([2, 4])[-1])
    assert session.decode([None, None]) == [None, None]
    assert session.tokens == [[1, 3], [2, 4]]
    assert session.lengths == [2, 2]


def test_capacity_grows_as_it_is_needed(engine: Engine) -> None:
    prompt = sequence(LIMITS.initial_capacity - 2)
    session = engine.session()
    session.prefill([prompt])
    assert session.state.capacity == LIMITS.initial_capacity
    assert greedy(session, new=6, stop=()) == [toy_tokens(prompt, 6, ())]
    assert session.state.capacity == 2 * LIMITS.initial_capacity
    session.prefill([sequence(600, seed=1)])
    assert session.state.capacity == 4 * LIMITS.initial_capacity
    assert_equal(session.decode([3])[0], toy_logits(session.tokens[0])[-1])


def test_a_small_context_takes_little_memory(engine: Engine) -> None:
    assert engine.session(context=10).state.capacity == 10
    assert engine.session().state.capacity == LIMITS.initial_capacity


def test_rows_that_begin_late(engine: Engine) -> None:
    session = engine.session(3)
    session.prefill([sequence(300), [], []])
    results = session.prefill([[], [1, 2], []])
    assert results[0] is None
    assert results[2] is None
    assert_equal(results[1], toy_logits([1, 2])[-1])
    assert greedy(session, [[], [], [9]], new=4) == [
        toy_tokens(row, 4) for row in (sequence(300), [1, 2], [9])
    ]


def test_generate_stops_after_the_end_token(engine: Engine) -> None:
    expected = [toy_tokens(prompt, 60) for prompt in PROMPTS]
    ended = [row[-1] == EOS for row in expected if row]
    assert any(ended), "the prompts must be such that a row ends"
    assert all(EOS not in row[:-1] for row in expected)
    assert greedy(engine.session(4), PROMPTS, new=60) == expected


def test_end_tokens_may_be_chosen(engine: Engine) -> None:
    free = toy_tokens([1, 2, 3], 40, ())
    stop = free[7]
    expected = free[: free.index(stop) + 1]
    for chosen in ([stop], {stop}, (stop, POISON), np.array([stop])):
        session = engine.session()
        assert greedy(session, [[1, 2, 3]], new=40, stop=chosen) == [expected]
    assert greedy(engine.session(), [[1, 2, 3]], new=40, stop=()) == [free]


def test_no_new_tokens_is_a_prefill(engine: Engine) -> None:
    session = engine.session(2)
    assert greedy(session, [[1, 2], []], new=0) == [[], []]
    assert session.lengths == [2, 0]
    assert greedy(session, [[], [3]], new=2) == [
        toy_tokens([1, 2], 2),
        toy_tokens([3], 2),
    ]


def test_a_stream_tells_each_token_as_it_appears(engine: Engine) -> None:
    session = engine.session(4)
    told = []
    for event in session.stream(PROMPTS, SamplingParams(max_new_tokens=5, ignore_eos=True)):
        assert session.tokens[event.row][-1] == event.token
        told.append((event.row, event.token, event.finish_reason))
    fresh = [toy_tokens(prompt, 5, ()) for prompt in PROMPTS]
    assert told == [
        (row, fresh[row][i], "length" if i == 4 else None) for i in range(5) for row in (0, 2, 3)
    ]


def test_a_stream_that_is_left_loses_nothing(engine: Engine) -> None:
    session = engine.session(2)
    for event in session.stream([[1], [2]], SamplingParams(max_new_tokens=9, ignore_eos=True)):
        if len(session.tokens[event.row]) == 4:
            break
    assert session.tokens == [[1, *toy_tokens([1], 3, ())], [2, *toy_tokens([2], 2, ())]]
    more = greedy(session, new=4, stop=())
    assert [1, *toy_tokens([1], 7, ())] == session.tokens[0]
    assert [2, *toy_tokens([2], 6, ())] == session.tokens[1]
    assert [len(row) for row in more] == [4, 4]


def test_generation_goes_on_where_it_stopped(engine: Engine) -> None:
    session = engine.session()
    fresh = greedy(session, [[8, 9]], new=3, stop=())[0]
    for count in (1, 0, 4):
        fresh += greedy(session, new=count, stop=())[0]
    assert fresh == toy_tokens([8, 9], 8, ())
    assert session.tokens == [[8, 9, *toy_tokens([8, 9], 8, ())]]


def test_append_after_generate_equals_one_joined_run(engine: Engine) -> None:
    session = engine.session(2)
    first = greedy(session, [[1, 2], [3]], new=4, stop=())
    second = greedy(session, [[6, 7, 8], [9]], new=4, stop=())
    joined = [[1, 2, *first[0], 6, 7, 8], [3, *first[1], 9]]
    assert second == [toy_tokens(row, 4, ()) for row in joined]


@pytest.mark.parametrize("chunk_size", [1, 512])
def test_a_generated_token_gives_no_logits_nobody_asked_for(
    engine: Engine, chunk_size: int
) -> None:
    session = engine.session(3)
    greedy(session, [[1], [2], [3]], new=2, stop=())
    rows = [list(row) for row in session.tokens]
    nothing, logits, _ = session.prefill([[], [4, 5], [6]], logits="all", chunk_size=chunk_size)
    assert nothing is None
    assert_equal(logits, toy_logits([*rows[1], 4, 5])[-2:])
    nothing, _, logits = session.prefill([[], [], [7]], chunk_size=chunk_size)
    assert nothing is None
    assert_equal(logits, toy_logits([*rows[2], 6, 7])[-1])
    assert greedy(session, new=1)[0] == toy_tokens(rows[0], 1)


@pytest.mark.parametrize("kind", ["last", "all"])
def test_logits_belong_to_the_caller(engine: Engine, kind: Any) -> None:
    session = engine.session(2)
    results = session.prefill([[1, 2], [3]], logits=kind)
    kept = [np.array(logits) for logits in results]
    for logits in results:
        assert logits is not None
        logits[...] = 0
        logits[..., 0] = 1
    assert greedy(session, new=1) == [toy_tokens([1, 2], 1), toy_tokens([3], 1)]
    results = session.prefill([[4], [5]], logits=kind)
    session.decode([6, 7])
    for before, logits, row in zip(kept, results, session.tokens, strict=True):
        assert not np.array_equal(before, logits)
        assert_equal(logits, toy_logits(row[:-1])[-1:].reshape(np.shape(logits)))


def test_logits_are_made_for_nobody_but_the_last_token(engine: Engine) -> None:
    with observed(engine, Steps()) as steps:
        engine.session(2).prefill([sequence(7), [3]], chunk_size=3)
    # The short row ends in the first step, the long one in the third.
    assert [step["logit_index"].tolist() for step in steps.inputs] == [[3], [], [0]]


def test_rows_without_tokens_are_not_run(engine: Engine) -> None:
    with observed(engine, Steps()) as steps:
        session = engine.session(3)
        session.prefill([sequence(7), [3], []], chunk_size=3)
        session.decode([None, None, 1])
        session.decode([1, None, 1])
    assert [step["lengths"].tolist() for step in steps.inputs] == [[3, 1], [3], [1], [1], [1, 1]]


def test_steps_shrink_as_the_context_grows(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "score_cells", 100_000)
    with observed(engine, Steps()) as steps:
        session = engine.session(2)
    (logits, _) = session.prefill([sequence(1100), [1]])
    assert_equal(logits, toy_logits(sequence(1100))[-1])
    for step, width in zip(steps.inputs, steps.widths, strict=True):
        rows, columns = len(step["lengths"]), int(step["past_lengths"].max()) + width
        assert width == LIMITS.smallest or rows * width * columns <= 100_000
    alone = steps.widths[1:]  # the short row has ended
    assert alone == sorted(alone[:-1], reverse=True) + alone[-1:]
    assert len(set(alone)) > 3


def test_steps_do_not_shrink_where_attention_holds_no_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "score_cells", 100_000)
    engine = Engine.open(write_toy(tmp_path / "engine", target="ort-cpu"))
    with observed(engine, Steps()) as steps:
        engine.session(2).prefill([sequence(1100), [1]])
        assert steps.widths == [512, 512, 76]
        steps.inputs.clear()
        # 4,096 tokens in all, with their padding; then one row alone.
        engine.session(64).prefill([sequence(150), *[[1]] * 63])
        assert steps.widths == [64, 86]


def test_rows_given_none_are_left_alone_where_they_stopped(engine: Engine) -> None:
    prompt = next(p for p in ([a, b] for a in range(9) for b in range(9))
                  if EOS in toy_tokens(p, 40) and len(toy_tokens(p, 40)) > 1)  # fmt: skip
    session = engine.session(2)
    greedy(session, [prompt, [1]], new=40)
    ended, lengths = list(session.tokens[0]), session.lengths[0]
    other = list(session.tokens[1])
    _, continued = greedy(session, [None, [2]], new=5, stop=())
    assert continued == toy_tokens([*other, 2], 5, ())
    session.prefill([None, [3]])
    session.prefill([[], [3]])
    session.decode([None, 3])
    assert session.tokens[0] == ended
    assert session.lengths[0] == lengths
    # An empty list asks for more, whatever came before.
    more, _ = greedy(session, [[], None], new=3, stop=())
    assert more == toy_tokens(ended, 3, ())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_not_sampled(engine: Engine, value: float) -> None:
    spoiling = False

    def overflow(logits: NDArray[np.float32]) -> None:
        if spoiling:
            logits.reshape(-1, VOCAB)[:, 2] = value

    with observed(engine, Steps(change=overflow)):
        session = engine.session(2)
    session.prefill([[1, 2], []])
    spoiling = True
    with pytest.raises(EngineError, match=r"logits of row 0 after 3 tokens hold (nan|inf)"):
        greedy(session, [[3], []])
    assert session.tokens[0] == [1, 2, 3]
