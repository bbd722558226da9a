"""Ragged batches and append-after-generate, where other tools go silently wrong."""

from __future__ import annotations

import numpy as np
import pytest

from tests.greedy import greedy
from tests.parity.conftest import Original, Subject
from tests.parity.oracle import GREEDY_TOKENS, Reference

LENGTHS = (0, 1, 7, 64, 65, 130)
NEW = 16


@pytest.fixture(scope="module")
def references(original: Original) -> list[Reference]:
    """What transformers makes of each row alone; an empty row yields nothing."""
    empty = Reference([], np.zeros((0, 0), np.float32), {}, [], float("inf"))
    seed = original.case.seed + 100
    return [original.prompt(seed, n) if n else empty for n in LENGTHS]


def _alone(subject: Subject, row: list[int]) -> list[int]:
    return greedy(subject.engine.session(), [row], new=NEW, stop=())[0]


def test_every_row_of_a_ragged_batch_gets_the_tokens_transformers_gives_it(
    subject: Subject, references: list[Reference]
) -> None:
    rows = [reference.prompt for reference in references]
    session = subject.engine.session(len(rows))
    together = greedy(session, rows, new=GREEDY_TOKENS, stop=())
    assert together == [reference.greedy for reference in references]
    assert [len(tokens) for tokens in together] == [0] + [GREEDY_TOKENS] * 5


def test_every_row_of_a_ragged_batch_gets_the_tokens_it_gets_alone(
    subject: Subject, references: list[Reference]
) -> None:
    rows = [reference.prompt for reference in references]
    session = subject.engine.session(len(rows))
    together = greedy(session, rows, new=NEW, stop=(), chunk_size=48)
    assert together == [_alone(subject, row) for row in rows]


def test_generate_append_generate_equals_one_run_over_the_joined_tokens(
    subject: Subject, references: list[Reference]
) -> None:
    rows = [reference.prompt for reference in references]
    more = rows[::-1]
    session = subject.engine.session(len(rows))
    first = greedy(session, rows, new=NEW, stop=())
    second = greedy(session, more, new=NEW, stop=(), chunk_size=48)
    joined = [row + new + extra for row, new, extra in zip(rows, first, more, strict=True)]
    assert second == [_alone(subject, row) for row in joined]
    assert second == [subject.original.run(row).greedy[:NEW] for row in joined]
    assert session.tokens == [row + new for row, new in zip(joined, second, strict=True)]


def test_a_row_given_nothing_is_untouched(subject: Subject, references: list[Reference]) -> None:
    rows = [reference.prompt for reference in references[3:5]]
    session = subject.engine.session(2)
    session.prefill(rows)
    before = {t.input: session.state[t.input][0].copy() for t in session.state.layout}
    n = len(rows[0])
    session.prefill([None, rows[0] * 3])
    for tensor in session.state.layout:
        after = session.state[tensor.input][0]
        if tensor.kind == "kv":
            np.testing.assert_array_equal(after[:, :n], before[tensor.input][:, :n])
        else:
            np.testing.assert_array_equal(after, before[tensor.input])
