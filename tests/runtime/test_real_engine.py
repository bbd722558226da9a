"""Generation on an engine made from a checkpoint: real state, real text, rounding and all."""

from __future__ import annotations

import numpy as np
import pytest

from deltaport.exporter.export import export_checkpoint
from deltaport.runtime import Completion, Engine, Generation, SamplingParams
from tests.checkpoints import CORPUS, VOCAB_SIZE, save_checkpoint

PROMPTS = [CORPUS[0], "A gated", [3, 1, 4, 1, 5, 9, 2, 6], CORPUS[2], CORPUS[1] * 2]
PARAMS = [
    SamplingParams(max_new_tokens=24, temperature=0.8, seed=1, logprobs=2),
    SamplingParams(max_new_tokens=40, temperature=1.2, top_k=20, seed=2, repetition_penalty=1.2),
    SamplingParams(max_new_tokens=12),
    SamplingParams(max_new_tokens=30, temperature=1.0, top_p=0.8, min_p=0.02, seed=4, stop=("e",)),
    SamplingParams(
        max_new_tokens=20, temperature=0.9, typical_p=0.9, frequency_penalty=0.4, seed=4
    ),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("small")
    checkpoint = save_checkpoint(folder / "checkpoint", seed=3, tokenizer=True)
    export_checkpoint(checkpoint, folder / "engine")
    return Engine.open(folder / "engine", threads=2)


@pytest.fixture(scope="module")
def alone(small: Engine) -> list[Completion]:
    return [
        small.session().generate([prompt], params)[0]
        for prompt, params in zip(PROMPTS, PARAMS, strict=True)
    ]


def test_runs_alone_differ_and_end_as_they_should(alone: list[Completion]) -> None:
    assert [len(done.tokens) for done in alone] == [24, 40, 12, 21, 20]
    assert [done.finish_reason for done in alone] == [*["length"] * 3, "stop_string", "length"]
    assert len({tuple(done.tokens[:6]) for done in alone}) == 5


def test_a_batch_gives_each_row_what_it_gets_alone(small: Engine, alone: list[Completion]) -> None:
    together = small.session(5).generate(PROMPTS, PARAMS)
    for found, expected in zip(together, alone, strict=True):
        assert (found.tokens, found.text, found.finish_reason) == (
            expected.tokens,
            expected.text,
            expected.finish_reason,
        )
        np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=1e-4)


@pytest.mark.parametrize("chunk_size", [None, 7])
def test_joined_and_dropped_rows_get_what_they_get_alone(
    small: Engine, alone: list[Completion], chunk_size: int | None
) -> None:
    session = small.session(3)
    generation = Generation(session, chunk_size=chunk_size)
    waiting, running = list(range(5)), dict[int, int]()
    found: dict[int, list[int]] = {i: [] for i in range(5)}
    steps = 0
    while waiting or generation.live:
        free = [row for row in range(3) if row not in generation.live]
        if waiting and free and steps % 3 == 0:
            row = free[0]
            running[row] = waiting.pop(0)
            session.clear(row)
            generation.start(row, PROMPTS[running[row]], PARAMS[running[row]])
        for event in generation.step():
            i = running[event.row]
            found[i].append(event.token)
            if i == 2 and len(found[i]) == 6:  # the greedy one is dropped half-way
                generation.cancel(event.row)
        steps += 1
    assert found[2] == alone[2].tokens[:6]
    for i in (0, 1, 3, 4):
        assert found[i] == alone[i].tokens, i


def test_text_is_that_of_the_tokens(small: Engine, alone: list[Completion]) -> None:
    tokenizer = small.tokenizer
    assert tokenizer is not None
    for done, params in zip(alone, PARAMS, strict=True):
        assert done.text == tokenizer.decode(done.tokens).partition(*params.stop or "\0")[0]


def test_a_snapshot_goes_on_bit_for_bit(small: Engine) -> None:
    session = small.session(2)
    session.prefill([[5, 6, 7] * 30, [8, 9]])
    snapshot = session.snapshot(0)
    (once, _) = session.prefill([[10, 11, 12], None], logits="all")
    session.clear(0)
    session.prefill([[99] * 50, None])
    session.restore(0, snapshot)
    (twice, _) = session.prefill([[10, 11, 12], None], logits="all")
    assert once is not None
    assert once.shape == (3, VOCAB_SIZE)
    np.testing.assert_array_equal(once, twice)


def test_a_cleared_row_is_like_a_new_one(small: Engine) -> None:
    session = small.session()
    (fresh,) = session.prefill([[1, 2, 3, 4]])
    session.prefill([[200] * 20])
    session.clear(0)
    (again,) = session.prefill([[1, 2, 3, 4]])
    np.testing.assert_array_equal(fresh, again)


def test_what_the_checkpoint_recommends(small: Engine) -> None:
    # Written by transformers itself, with whatever fields it writes.
    assert (small.folder / "generation_config.json").is_file()
    assert SamplingParams.from_generation_config(small) == SamplingParams()
