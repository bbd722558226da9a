"""What a session refuses, it refuses before anything has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from deltaport.errors import (
    CapacityError,
    DeltaportError,
    EngineError,
    InputError,
    StepCancelledError,
)
from deltaport.runtime import Engine, SamplingParams, Session
from tests.greedy import greedy
from tests.runtime.step_observers import Steps, observed
from tests.runtime.toy_engine import MAX_POSITIONS, POISON, VOCAB, toy_logits, toy_tokens


def refuse(
    session: Session,
    call: Callable[[Session], Any],
    message: str,
    error: type[DeltaportError] = InputError,
) -> None:
    """``call`` must fail and leave no trace."""
    tokens = [list(row) for row in session.tokens]
    lengths = session.lengths
    state = {name: array.copy() for name, array in session.state.inputs()}
    with pytest.raises(error, match=message):
        call(session)
    assert session.tokens == tokens
    assert session.lengths == lengths
    for name, array in session.state.inputs():
        assert np.array_equal(array, state[name])


def started(engine: Engine, **options: Any) -> Session:
    session = engine.session(2, **options)
    session.prefill([[1, 2], [3]])
    return session


@pytest.mark.parametrize("sequences", [0, -1, 2.0, True, "2", None])
def test_a_session_has_sequences(engine: Engine, sequences: Any) -> None:
    with pytest.raises(InputError, match=f"sequences is {sequences!r}, expected .* at least 1"):
        engine.session(sequences)


@pytest.mark.parametrize("context", [0, -1, MAX_POSITIONS + 1, 10.5, False])
def test_a_context_is_what_the_model_allows(engine: Engine, context: Any) -> None:
    with pytest.raises(InputError, match=f"context is {context}, expected .* 1 to {MAX_POSITIONS}"):
        engine.session(context=context)


@pytest.mark.parametrize("token", [-1, VOCAB, 2**40, -(2**70), 1.0, True, "3", None, [3]])
def test_a_token_id_out_of_range(engine: Engine, token: Any) -> None:
    session = started(engine)
    for call in (
        lambda s: s.prefill([[4, 5], [6, token]]),
        lambda s: greedy(s, [[4, 5], [6, token]]),
    ):
        refuse(session, call, r"row 1, token 1: .* is not a token id")
    if token is not None:
        refuse(session, lambda s: s.decode([0, token]), r"row 1, token 0: .* is not a token id")


@pytest.mark.parametrize("rows", [[], [[1]], [[1], [1], [1]]])
def test_a_wrong_number_of_rows(engine: Engine, rows: list[list[int]]) -> None:
    session = started(engine)
    refuse(session, lambda s: s.prefill(rows), f"got {len(rows)} rows .* 2 sequences")
    refuse(session, lambda s: greedy(s, rows), f"got {len(rows)} rows .* 2 sequences")
    refuse(session, lambda s: s.decode([0] * len(rows)), f"got {len(rows)} rows .* 2 sequences")


@pytest.mark.parametrize("row", [5, "5", 1.0])
def test_a_row_is_a_sequence(engine: Engine, row: Any) -> None:
    session = started(engine)
    refuse(session, lambda s: s.prefill([[4], row]), "row 1 is .* expected a sequence")
    message = "has no tokenizer" if row == "5" else "row 1 is .* expected a sequence"
    refuse(session, lambda s: s.generate([[4], row]), message)
    refuse(session, lambda s: s.generate("ab"), "got 'ab' for a session of 2 sequences")  # type: ignore[arg-type]
    refuse(session, lambda s: greedy(s, 7), "got 7 for a session of 2 sequences")


@pytest.mark.parametrize("tokens", [5, None, 1.0])
def test_decode_takes_a_token_per_row(engine: Engine, tokens: Any) -> None:
    refuse(started(engine), lambda s: s.decode(tokens), "expected a token id or None per row")


def test_logits_are_of_a_known_kind(engine: Engine) -> None:
    session = started(engine)
    refuse(session, lambda s: s.prefill([[1], [1]], logits="al"), "logits is 'al'")


@pytest.mark.parametrize("name", ["logit_bias", "suppress_tokens", "stop_token_ids"])
def test_parameters_name_tokens_of_the_engine(engine: Engine, name: str) -> None:
    value: Any = {3: 1.0, VOCAB: 1.0} if name == "logit_bias" else (3, VOCAB)
    params = SamplingParams(**{name: value})
    message = f"{name}, token 1: {VOCAB} is not a token id below {VOCAB}"
    refuse(started(engine), lambda s: s.generate([[1], [1]], [None, params]), message)


def test_no_more_logprobs_than_tokens(engine: Engine) -> None:
    params = SamplingParams(logprobs=VOCAB + 1)
    refuse(started(engine), lambda s: s.generate(None, params), f"logprobs is {VOCAB + 1}")
    assert len(started(engine).generate(None, SamplingParams(logprobs=VOCAB))) == 2


def test_text_needs_a_tokenizer(engine: Engine) -> None:
    message = "engine: has no tokenizer.json"
    refuse(started(engine), lambda s: s.generate(["a", [1]]), message)
    refuse(started(engine), lambda s: s.generate(None, SamplingParams(stop=("a",))), message)


@pytest.mark.parametrize("params", [[], [SamplingParams()], [None] * 3, 5, "ab"])
def test_parameters_are_for_all_rows_or_one_a_row(engine: Engine, params: Any) -> None:
    refuse(started(engine), lambda s: s.generate(None, params), "for a session of 2 sequences")


@pytest.mark.parametrize("chunk_size", [0, -3, 2.5, True])
def test_a_chunk_has_tokens(engine: Engine, chunk_size: Any) -> None:
    session = started(engine)
    message = f"chunk_size is {chunk_size}"
    refuse(session, lambda s: s.prefill([[1], [1]], chunk_size=chunk_size), message)
    refuse(session, lambda s: greedy(s, [[1], [1]], chunk_size=chunk_size), message)


def test_a_negative_number_of_new_tokens(engine: Engine) -> None:
    session = started(engine)
    for count in (-1, 2.5):
        call = lambda s, n=count: greedy(s, [[1], [1]], new=n)  # noqa: E731
        refuse(session, call, f"max_new_tokens is {count}, expected an integer, at least 0")


@pytest.mark.parametrize("limited", [True, False])
def test_the_context_is_never_exceeded(engine: Engine, limited: bool) -> None:
    context = 6 if limited else MAX_POSITIONS
    session = started(engine, context=6 if limited else None)
    room = context - 2
    long = [1] * (room + 1)
    # The first row would fit: it must not be taken over either.
    refuse(session, lambda s: s.prefill([[1], [*long, 1]]), "row 1", CapacityError)
    refuse(session, lambda s: s.prefill([long, []]), f"context of {context}", CapacityError)
    refuse(session, lambda s: greedy(s, [long, []]), "row 0", CapacityError)
    refuse(session, lambda s: greedy(s, new=room + 2), "row 0", CapacityError)
    (logits, _) = session.prefill([long[1:], []])
    assert logits is not None
    assert np.array_equal(logits, toy_logits([1, 2, *long[1:]])[-1])
    refuse(session, lambda s: s.decode([0, None]), "row 0", CapacityError)


def test_generation_may_fill_the_context(engine: Engine) -> None:
    session = engine.session(context=6)
    refuse(session, lambda s: greedy(s, [[1, 2]], new=5), "row 0", CapacityError)
    assert greedy(session, [[1, 2]], new=4, stop=()) == [toy_tokens([1, 2], 4, ())]
    assert len(session.tokens[0]) == session.context
    assert greedy(session, new=0) == [[]]
    refuse(session, lambda s: greedy(s, new=1), "row 0", CapacityError)


def test_a_full_row_does_not_stand_in_the_way_of_others(engine: Engine) -> None:
    session = engine.session(2, context=6)
    greedy(session, [[1, 2], [3]], new=4, stop=())
    full = list(session.tokens[0])
    assert session.prefill([[], [1]])[0] is None
    assert greedy(session, [None, []], new=0) == [[], []]
    assert session.tokens[0] == full


def test_a_row_without_tokens_needs_no_room(engine: Engine) -> None:
    session = engine.session(2, context=4)
    assert greedy(session, [[1], []], new=3, stop=()) == [
        toy_tokens([1], 3, ()),
        [],
    ]
    assert greedy(engine.session(2, context=3), new=9) == [[], []]


def test_a_prefill_that_fails_changes_nothing(engine: Engine) -> None:
    session = started(engine)
    refuse(session, lambda s: s.prefill([[1], [POISON]]), "a step failed: ", EngineError)
    logits, _ = session.decode([7, None])
    assert logits is not None
    assert np.array_equal(logits, toy_logits([1, 2, 7])[-1])
    assert greedy(session, new=4, stop=()) == [
        toy_tokens([1, 2, 7], 4, ()),
        toy_tokens([3], 4, ()),
    ]


def test_what_ran_before_a_step_that_failed_stays(engine: Engine) -> None:
    session = started(engine)
    with pytest.raises(EngineError, match="a step failed: ") as caught:
        session.prefill([[4, 5, 6, POISON], [8, 9]], chunk_size=2)
    assert "\n" not in str(caught.value)
    assert session.tokens == [[1, 2, 4, 5], [3, 8, 9]]
    assert session.lengths == [4, 3]
    logits = session.decode([7, 7])
    for found, history in zip(logits, ([1, 2, 4, 5, 7], [3, 8, 9, 7]), strict=True):
        assert found is not None
        assert np.array_equal(found, toy_logits(history)[-1])


def test_logits_survive_tokens_that_could_not_be_run(engine: Engine) -> None:
    session = started(engine)
    with pytest.raises(EngineError):
        session.prefill([[POISON], None])
    assert greedy(session, new=1, stop=()) == [toy_tokens([1, 2], 1, ()), toy_tokens([3], 1, ())]


def test_a_step_that_fails_leaves_other_sessions_alone(engine: Engine) -> None:
    healthy, doomed = started(engine), started(engine)
    with pytest.raises(EngineError):
        doomed.decode([POISON, None])
    logits, _ = healthy.decode([7, None])
    assert logits is not None
    assert np.array_equal(logits, toy_logits([1, 2, 7])[-1])


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), EngineError("broken"), ValueError("x")])
def test_an_interrupted_step_never_was(engine: Engine, failure: BaseException) -> None:
    def fail(step: int) -> None:
        if step == 2:
            raise failure

    with observed(engine, Steps(fail)):
        session = started(engine)
    with pytest.raises(type(failure)):
        session.decode([1, 1])
    assert (session.tokens, session.lengths) == ([[1, 2], [3]], [2, 1])
    logits, _ = session.decode([7, None])
    assert logits is not None
    assert np.array_equal(logits, toy_logits([1, 2, 7])[-1])


def test_a_cancelled_step_never_was(engine: Engine) -> None:
    session = started(engine)
    session.cancel()
    refuse(session, lambda s: s.prefill([[4], [5]]), "step was cancelled", StepCancelledError)
    logits, _ = session.decode([7, None])
    assert logits is not None
    assert np.array_equal(logits, toy_logits([1, 2, 7])[-1])


def test_a_step_is_cancelled_from_another_thread(engine: Engine) -> None:
    running = threading.Event()

    def announce(_: int) -> None:
        running.set()

    with observed(engine, Steps(announce)):
        session = engine.session(2)
    other = threading.Thread(target=lambda: (running.wait(), session.cancel()))
    other.start()
    prompt = [1] * 1000
    with pytest.raises(StepCancelledError):
        session.prefill([prompt, prompt], chunk_size=1)
    other.join()
    read = session.lengths[0]
    assert read < 1000
    assert session.tokens == [[1] * read] * 2
    session.prefill([prompt[read:], None])
    assert greedy(session, [[], None], new=3, stop=())[0] == toy_tokens(prompt, 3, ())


def test_a_closed_session(engine: Engine) -> None:
    with started(engine) as session:
        pass
    assert session.tokens == [[], []]
    for call in (
        lambda: session.prefill([[1], None]),
        lambda: session.snapshot(0),
        lambda: session.clear(1),
        lambda: session.fork(0),
        lambda: session.close_row(1),
    ):
        with pytest.raises(InputError, match=r"row [01] is closed; open one"):
            call()
    session.close()
    row = session.open_row()
    session.prefill([[1, 2] if at == row else None for at in range(2)])
    assert greedy(session, [[], None], new=2, stop=())[0] == toy_tokens([1, 2], 2, ())
