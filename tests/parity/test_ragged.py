"""Ragged batches and append-after-generate, where other tools go silently wrong."""

from __future__ import annotations

import numpy as np

from tests.parity.conftest import Subject

LENGTHS = (0, 1, 7, 64, 65, 130)
NEW = 16


def _rows(subject: Subject) -> list[list[int]]:
    rng = np.random.default_rng(subject.case.seed)
    vocab = subject.engine.manifest.vocab_size
    return [rng.integers(0, vocab, length).tolist() for length in LENGTHS]


def _alone(subject: Subject, row: list[int]) -> list[int]:
    return subject.engine.session().generate([row], max_new_tokens=NEW, eos_token_ids=())[0]


def test_each_row_of_a_ragged_batch_gets_the_tokens_it_gets_alone(subject: Subject) -> None:
    rows = _rows(subject)
    session = subject.engine.session(len(rows))
    together = session.generate(rows, max_new_tokens=NEW, eos_token_ids=())
    assert together == [_alone(subject, row) for row in rows]
    assert [len(tokens) for tokens in together] == [0] + [NEW] * 5


def test_the_longest_rows_match_transformers_in_a_batch(subject: Subject) -> None:
    reference = subject.oracle.prompt_with_margin(subject.case.seed, 65)
    session = subject.engine.session(3)
    rows = [[5, 7], reference.prompt, []]
    together = session.generate(rows, max_new_tokens=len(reference.greedy), eos_token_ids=())
    assert together[1] == reference.greedy


def test_generate_append_generate_equals_one_run_over_the_joined_tokens(subject: Subject) -> None:
    rows = _rows(subject)
    more = rows[::-1]
    session = subject.engine.session(len(rows))
    first = session.generate(rows, max_new_tokens=NEW, eos_token_ids=())
    second = session.generate(more, max_new_tokens=NEW, eos_token_ids=(), chunk_size=48)
    joined = [row + new + extra for row, new, extra in zip(rows, first, more, strict=True)]
    assert second == [_alone(subject, row) for row in joined]
    assert session.tokens == [row + new for row, new in zip(joined, second, strict=True)]


def test_a_row_given_nothing_is_untouched(subject: Subject) -> None:
    rows = _rows(subject)[3:5]
    session = subject.engine.session(2)
    session.prefill(rows)
    before = {t.input: session.state[t.input][0].copy() for t in session.state.layout}
    n = len(rows[0])
    session.prefill([[], rows[0] * 3])
    for tensor in session.state.layout:
        after = session.state[tensor.input][0]
        if tensor.kind == "kv":
            np.testing.assert_array_equal(after[:, :n], before[tensor.input][:, :n])
        else:
            np.testing.assert_array_equal(after, before[tensor.input])
