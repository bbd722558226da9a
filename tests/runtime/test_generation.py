"""Sequences that join and leave: each gets what it gets alone, whatever goes on beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from deltaport.errors import CapacityError, EngineError, InputError
from deltaport.runtime import Engine, GeneratedToken, Generation, SamplingParams, Session
from tests.runtime.toy_engine import EOS, POISON, VOCAB, toy_tokens, write_toy
from tests.runtime.toy_tokenizer import write_toy_tokenizer

FREE = SamplingParams(max_new_tokens=6, ignore_eos=True)


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The toy engine with a tokenizer."""
    folder = write_toy(tmp_path_factory.mktemp("speaking") / "engine")
    write_toy_tokenizer(folder)
    return Engine.open(folder, threads=1)


def even_after_three(tokens: Any) -> Any:
    return None if len(tokens) < 3 else np.arange(VOCAB) % 2 == 0


def never_the_last_one(tokens: Any) -> Any:
    return {i for i in range(POISON) if tokens[-1:] != (i,)}


TOKENS = st.integers(0, POISON - 1)
PARAMS = st.builds(
    SamplingParams,
    max_new_tokens=st.integers(0, 12),
    min_new_tokens=st.integers(0, 4),
    temperature=st.sampled_from([0.0, 0.5, 5.0, 100.0]),
    top_k=st.sampled_from([0, 1, 5]),
    top_p=st.sampled_from([1.0, 0.5, 0.9]),
    min_p=st.sampled_from([0.0, 0.1]),
    typical_p=st.sampled_from([1.0, 0.7]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    presence_penalty=st.sampled_from([0.0, 3.0]),
    frequency_penalty=st.sampled_from([0.0, 2.0]),
    logit_bias=st.dictionaries(TOKENS, st.sampled_from([-50.0, 20.0]), max_size=2),
    # The token that fails the step is never to be drawn.
    suppress_tokens=st.just((POISON,)),
    allowed_tokens=st.sampled_from([None, even_after_three, never_the_last_one]),
    seed=st.integers(0, 2**64 - 1),
    stop=st.lists(st.sampled_from(["ab", "aab", "€", "\n", "a", "xy"]), max_size=2).map(tuple),
    stop_token_ids=st.sets(TOKENS, max_size=2).map(tuple),
    ignore_eos=st.booleans(),
    logprobs=st.sampled_from([None, 0, 3]),
)


class Joining(RuleBasedStateMachine):
    """A generation beside, per row, the events it still owes: those of the row's run alone."""

    engine: Engine
    owed: dict[int, list[GeneratedToken]]

    @initialize(count=st.integers(1, 4), chunk_size=st.sampled_from([None, 1, 2, 5]))
    def begin(self, count: int, chunk_size: int | None) -> None:
        self.session = self.engine.session(count)
        self.generation = Generation(self.session, chunk_size=chunk_size)
        self.owed = {}

    @rule(data=st.data(), prompt=st.lists(TOKENS, max_size=9), params=PARAMS)
    def start(self, data: st.DataObject, prompt: list[int], params: SamplingParams) -> None:
        row = data.draw(st.integers(0, self.session.sequences - 1))
        if row in self.generation.live:
            with pytest.raises(InputError, match=f"row {row} is being generated"):
                self.generation.start(row, prompt, params)
            return
        history = [*self.session.tokens[row], *prompt]
        self.generation.start(row, prompt, params)
        alone = self.engine.session().stream([history], params)
        self.owed[row] = [replace(event, row=row) for event in alone]

    @rule()
    def step(self) -> None:
        events = self.generation.step()
        assert [event.row for event in events] == sorted({event.row for event in events})
        for event in events:
            assert event == self.owed[event.row].pop(0)
            assert self.session.tokens[event.row][-1] == event.token
            assert (event.row in self.generation.live) == (event.finish_reason is None)

    @rule(row=st.integers(0, 3))
    def cancel(self, row: int) -> None:
        row %= self.session.sequences
        self.generation.cancel(row)
        self.owed.pop(row, None)

    @rule(row=st.integers(0, 3))
    def run_to_the_end(self, row: int) -> None:
        for _ in range(40):
            if row not in self.generation.live:
                break
            self.step()
        assert not self.owed.get(row)

    @invariant()
    def only_rows_that_are_owed_something_or_read_a_prompt_are_live(self) -> None:
        for row, events in self.owed.items():
            if events:
                assert row in self.generation.live


def test_rows_that_join_and_leave_equal_their_runs_alone(speaking: Engine) -> None:
    class Machine(Joining):
        pass

    Machine.engine = speaking
    case = Machine.TestCase()
    case.settings = settings(
        max_examples=150, stateful_step_count=25, deadline=None, derandomize=True
    )
    case.runTest()


def test_a_row_goes_on_while_a_long_prompt_is_read(engine: Engine) -> None:
    session = engine.session(2)
    generation = Generation(session, chunk_size=4)
    generation.start(0, [1, 2], FREE)
    generation.step()
    generation.start(1, [3] * 14, FREE)
    rows = [[event.row for event in generation.step()] for _ in range(5)]
    assert rows == [[0], [0], [0], [0, 1], [0, 1]]
    assert generation.live == [1]
    assert session.tokens[0] == [1, 2, *toy_tokens([1, 2], 6, ())]


def test_events_stop_with_the_last_row(engine: Engine) -> None:
    session = engine.session(3)
    params = [replace(FREE, max_new_tokens=n) for n in (3, 0, 2)]
    events = list(session.stream([[1], [2, 2], [3]], params))
    assert [event.row for event in events] == [0, 2, 0, 2, 0]
    assert [event.finish_reason for event in events] == [None, None, None, "length", "length"]
    assert session.lengths == [3, 2, 2]
    assert list(session.stream([None] * 3)) == []


def test_reasons(engine: Engine) -> None:
    free = toy_tokens([1, 2, 3], 40, ())
    session = engine.session(2)

    def run(**params: Any) -> tuple[list[int], str | None]:
        [done, other] = session.generate([[1, 2, 3], None], SamplingParams(**params))
        session.clear(0)
        assert (other.tokens, other.finish_reason) == ([], None)
        return done.tokens, done.finish_reason

    assert run(max_new_tokens=5, ignore_eos=True) == (free[:5], "length")
    assert run(max_new_tokens=0) == ([], "length")
    end = free.index(EOS) + 1
    assert run(max_new_tokens=end + 5) == (free[:end], "end_token")
    stop = free.index(free[3]) + 1
    assert run(stop_token_ids=(free[3],), ignore_eos=True) == (free[:stop], "end_token")
    # The last token that fits may be an end token as well.
    assert run(max_new_tokens=end) == (free[:end], "end_token")


def test_without_a_limit_the_context_is_filled(engine: Engine) -> None:
    session = engine.session(2, context=300)
    params = SamplingParams(max_new_tokens=None, ignore_eos=True)
    first, second = session.generate([[1] * 40, [2]], params)
    assert (len(first.tokens), first.finish_reason) == (260, "length")
    assert (second.tokens, second.finish_reason) == (toy_tokens([2], 299, ()), "length")
    assert session.generate(params=params)[0].finish_reason == "length"
    assert [len(row) for row in session.tokens] == [300, 300]
    with pytest.raises(CapacityError, match="row 0"):
        session.generate([[1], None], params)


def test_memory_is_taken_as_tokens_come_where_there_is_no_limit(engine: Engine) -> None:
    session = engine.session()
    stream = session.stream([[1]], SamplingParams(max_new_tokens=None, ignore_eos=True))
    for _ in range(300):
        next(stream)
    assert session.state.capacity == 512 < session.context


def test_one_seed_gives_one_text_in_every_row(engine: Engine) -> None:
    params = SamplingParams(max_new_tokens=12, temperature=50.0, seed=3, ignore_eos=True,
                            suppress_tokens=(POISON,))  # fmt: skip
    same = engine.session(3).generate([[4, 5]] * 3, params)
    assert same[0] == same[1] == same[2]
    other = engine.session().generate([[4, 5]], replace(params, seed=4))
    assert other[0].tokens != same[0].tokens


def test_text_is_that_of_the_tokens(speaking: Engine) -> None:
    tokenizer = speaking.tokenizer
    assert tokenizer is not None
    for seed in range(30):
        params = SamplingParams(max_new_tokens=30, temperature=300.0, seed=seed, ignore_eos=True,
                                suppress_tokens=(POISON,))  # fmt: skip
        [done] = speaking.session().generate(["ab"], params)
        text = tokenizer.decode(done.tokens)
        assert done.text == text
        assert (
            speaking.session().generate(["ab"], replace(params, detokenize=False))[0].text is None
        )
        for stop in (["a"], ["b", "ca"], ["\ufffd"], ["never"]):
            [cut] = speaking.session().generate(["ab"], replace(params, stop=stop))
            places = [text.find(string) for string in stop if string in text]
            assert cut.text == text[: min(places, default=None)]
            assert cut.finish_reason == ("stop_string" if places else "length")
            assert cut.tokens == done.tokens[: len(cut.tokens)]


def test_what_was_held_back_comes_with_the_last_token(speaking: Engine) -> None:
    # "a", the beginning of a stop string that never comes; and the first byte of a character.
    for token, held in ((0, "a"), (8, "\ufffd")):
        params = replace(FREE, max_new_tokens=2, logit_bias={token: 1e5}, stop=("axxx",))
        events = list(speaking.session().stream([[1]], replace(params, max_new_tokens=1)))
        assert [(event.token, event.text) for event in events] == [(token, held)]
        events = list(speaking.session().stream([[1]], params))
        assert ["".join(event.text or "" for event in events)] == [2 * held]
        assert events[0].text == ""


def test_a_prompt_is_text_or_ids(speaking: Engine) -> None:
    session = speaking.session(2)
    by_text, by_ids = session.generate(["abc", [3, 2]], FREE)
    assert by_text == by_ids
    assert session.tokens[0] == session.tokens[1] == [3, 2, *by_ids.tokens]


def test_a_tokenizer_that_knows_more_than_the_engine(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "engine")
    write_toy_tokenizer(folder, extra=(b"<more>",))
    session = Engine.open(folder, threads=1).session()
    message = f"row 0, by the tokenizer, token 1: {VOCAB} is not a token id below {VOCAB}"
    with pytest.raises(InputError, match=message):
        session.generate(["a<more>"])
    assert session.tokens == [[]]


def test_a_damaged_tokenizer_is_an_error_where_text_is_wanted(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "engine")
    (folder / "tokenizer.json").write_text("{}")
    session = Engine.open(folder, threads=1).session()
    for prompt in ("a", [1]):
        with pytest.raises(EngineError, match="not a tokenizer"):
            session.generate([prompt])
    assert session.tokens == [[]]
    silent = SamplingParams(max_new_tokens=2, detokenize=False)
    assert session.generate([[1]], silent)[0].tokens == toy_tokens([1], 2)


def test_a_start_that_fails_changes_nothing(engine: Engine) -> None:
    session = engine.session(3, context=20)
    generation = Generation(session)
    generation.start(0, [1], FREE)
    generation.step()
    before = [list(row) for row in session.tokens]
    for row, prompt, params, message in [
        (0, [2], None, "row 0 is being generated; cancel it first"),
        (3, [2], None, "row is 3, expected an integer, 0 to 2"),
        (True, [2], None, "row is True"),
        (1, [VOCAB], None, "row 1, token 0"),
        (1, [2], SamplingParams(max_new_tokens=20), "row 1: 1 tokens and 20 to follow exceed"),
        (1, [2], {"temperature": 1}, "row 1: params are .* expected SamplingParams"),
    ]:
        with pytest.raises(InputError, match=message):
            generation.start(row, prompt, params)  # type: ignore[arg-type]
        assert (session.tokens, generation.live) == (before, [0])
    with pytest.raises(InputError, match="row is 3"):
        generation.cancel(3)
    while generation.live:
        generation.step()
    assert session.tokens == [[1, *toy_tokens([1], 6, ())], [], []]


def test_room_is_made_for_who_joins_beside_who_is_long(engine: Engine) -> None:
    session = engine.session(2, context=600)
    generation = Generation(session)
    generation.start(0, [1] * 250, FREE)
    generation.step()
    generation.start(1, [2] * 300, FREE)  # its step is wider than the caches were
    while generation.live:
        generation.step()
    assert session.tokens[0][250:] == toy_tokens([1] * 250, 6, ())
    assert session.tokens[1][300:] == toy_tokens([2] * 300, 6, ())


def test_a_callback_that_raises_leaves_every_row_where_it_was(engine: Engine) -> None:
    session = engine.session(3)
    generation = Generation(session)

    def failing(tokens: Any) -> None:
        if len(tokens) == 2:
            raise ZeroDivisionError

    generation.start(0, [1], FREE)
    generation.start(1, [2], replace(FREE, allowed_tokens=failing))
    generation.start(2, [3], FREE)
    generation.step()
    generation.step()
    before = [list(row) for row in session.tokens]
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            generation.step()
        assert session.tokens == before
    generation.cancel(1)
    while generation.live:
        generation.step()
    assert session.tokens == [
        [1, *toy_tokens([1], 6, ())],
        [2, *toy_tokens([2], 2, ())],
        [3, *toy_tokens([3], 6, ())],
    ]
    [_, more, _] = session.generate([None, [], None], replace(FREE, max_new_tokens=3))
    assert more.tokens == toy_tokens([2], 5, ())[2:]


def change_by_prefill(session: Session) -> None:
    session.prefill([[4], None])


def change_by_restore(session: Session) -> None:
    session.restore(0, session.snapshot(0))


@pytest.mark.parametrize("change", [change_by_prefill, change_by_restore])
def test_a_row_that_was_changed_meanwhile_is_not_gone_on_with(engine: Engine, change: Any) -> None:
    session = engine.session(2)
    generation = Generation(session)
    generation.start(0, [1], FREE)
    generation.start(1, [2], FREE)
    generation.step()
    change(session)
    with pytest.raises(InputError, match="row 0 was changed while it was generated; cancel it"):
        generation.step()
    generation.cancel(0)
    while generation.live:
        generation.step()
    assert session.tokens[1] == [2, *toy_tokens([2], 6, ())]


def test_a_row_that_was_changed_within_a_step_of_a_stream(engine: Engine) -> None:
    session = engine.session(2)
    stream = session.stream([[1], [2]], FREE)
    assert next(stream).row == 0
    session.clear(1)
    with pytest.raises(InputError, match="row 1 was changed"):
        next(stream)


def test_after_a_step_that_failed_the_other_rows_go_on(engine: Engine) -> None:
    session = engine.session(2)
    generation = Generation(session)
    generation.start(0, [1], FREE)
    generation.start(1, [POISON], FREE)
    for _ in range(2):
        with pytest.raises(EngineError, match="a step failed"):
            generation.step()
    generation.cancel(1)
    while generation.live:
        generation.step()
    assert session.tokens[0] == [1, *toy_tokens([1], 6, ())]


def test_a_stream_checks_at_once_and_runs_when_asked(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = engine.session()
    with pytest.raises(InputError, match="row 0, token 0"):
        session.stream([[VOCAB]])
    stream = session.stream([[1, 2]], FREE)
    assert (session.tokens, session.lengths) == ([[1, 2]], [0])
    stream.close()  # type: ignore[attr-defined]  # a generator
    assert session.generate(params=FREE)[0].tokens == toy_tokens([1, 2], 6, ())


def test_logprobs_are_the_models_own(engine: Engine) -> None:
    params = replace(FREE, logprobs=4, temperature=20.0, seed=1, suppress_tokens=(POISON,))
    [done] = engine.session().generate([[1, 2]], params)
    assert len(done.logprobs) == len(done.top_logprobs) == 6
    session = engine.session()
    (logits,) = session.prefill([[1, 2, *done.tokens]], logits="all")
    assert logits is not None
    for i, token in enumerate(done.tokens):
        row = logits[1 + i].astype(np.float64)
        exact = row - np.log(np.exp(row).sum())
        assert done.logprobs[i] == pytest.approx(exact[token], rel=1e-12)
        best = sorted(range(VOCAB), key=lambda v: (-exact[v], v))[:4]
        assert [v for v, _ in done.top_logprobs[i]] == best
    [plain] = engine.session().generate([[1, 2]], replace(params, logprobs=None))
    assert (plain.tokens, plain.logprobs, plain.top_logprobs) == (done.tokens, [], [])
