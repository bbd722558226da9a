"""Prompts that begin alike start where an earlier one was set aside, and nobody can tell."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaport.errors import InputError
from deltaport.runtime import Engine, PrefixCache, PrefixUsage, SamplingParams
from tests.greedy import greedy
from tests.runtime.step_observers import Steps, observed
from tests.runtime.toy_engine import POISON, toy_logits, toy_tokens, write_toy

LARGE = 1 << 20
SYSTEM = [3, 1, 4, 1, 5, 9, 2, 6]
FREE = SamplingParams(max_new_tokens=3, ignore_eos=True)


def ran(engine: Engine, cache: PrefixCache, prompt: list[int]) -> int:
    """Tokens of a prompt that a new session runs; what it says is looked at, too."""
    with observed(engine, Steps()) as steps:
        session = engine.session(prefixes=cache)
        (logits,) = session.prefill([prompt])
    assert logits is not None
    np.testing.assert_array_equal(logits, toy_logits(prompt)[-1])
    assert session.tokens == [prompt]
    count = steps.tokens
    assert greedy(session, new=3, stop=()) == [toy_tokens(prompt, 3, ())]
    return count


def test_a_prompt_starts_at_the_longest_known_beginning(engine: Engine) -> None:
    cache = PrefixCache(LARGE, min_tokens=4)
    assert ran(engine, cache, SYSTEM) == 8
    assert ran(engine, cache, [*SYSTEM, 7, 7, 7, 7]) == 4
    assert ran(engine, cache, [*SYSTEM, 7, 7, 7, 7, 2]) == 1
    assert ran(engine, cache, [*SYSTEM, 7, 7, 7]) == 3
    assert ran(engine, cache, SYSTEM) == 0
    assert ran(engine, cache, SYSTEM[:-1]) == 7
    assert ran(engine, cache, [2, *SYSTEM]) == 9
    usage = cache.usage()
    assert (usage.hits, usage.misses) == (4, 3)
    assert usage.prompts == 4  # three tokens or one are not worth it


def test_streams_start_there_too_and_see_no_difference(engine: Engine) -> None:
    cache = PrefixCache(LARGE, min_tokens=4)
    for _ in range(2):
        with observed(engine, Steps()) as steps:
            session = engine.session(2, prefixes=cache)
            found = session.generate([SYSTEM, [*SYSTEM, 8]], FREE)
        assert [list(row.tokens) for row in found] == [
            toy_tokens(SYSTEM, 3, ()),
            toy_tokens([*SYSTEM, 8], 3, ()),
        ]
    assert steps.tokens == 4  # two new tokens a row were run: the third of each is not
    assert cache.usage().prompts == 2


def test_nothing_but_prompts_is_kept(engine: Engine) -> None:
    cache = PrefixCache(LARGE, min_tokens=4)
    session = engine.session(prefixes=cache)
    greedy(session, [[1, 2, 3]], new=20, stop=())
    for _ in range(20):
        session.decode([2])
    assert cache.usage() == PrefixUsage(0, 0, 0, 1)
    session.prefill([[6] * 5])  # a later turn of a conversation
    assert cache.usage().prompts == 1
    history = session.tokens[0]
    assert ran(engine, cache, [*history, 5]) == 1


def test_logits_of_all_tokens_are_computed(engine: Engine) -> None:
    cache = PrefixCache(LARGE, min_tokens=4)
    for _ in range(2):
        (logits,) = engine.session(prefixes=cache).prefill([SYSTEM], logits="all")
        assert logits is not None
        np.testing.assert_array_equal(logits, toy_logits(SYSTEM))
    assert cache.usage().prompts == 1


def test_what_was_not_of_use_for_longest_goes_first(engine: Engine) -> None:
    prompts = [[first] * 8 for first in (1, 2, 3)]
    measure = PrefixCache(LARGE, min_tokens=1)
    ran(engine, measure, prompts[0])
    size = measure.usage().nbytes
    cache = PrefixCache(2 * size + size // 2, min_tokens=1)
    for prompt in (prompts[0], prompts[1], prompts[0], prompts[2]):
        ran(engine, cache, prompt)
    assert cache.usage().nbytes == 2 * size
    assert ran(engine, cache, prompts[0]) == 0
    assert ran(engine, cache, prompts[2]) == 0
    assert ran(engine, cache, prompts[1]) == 8
    assert ran(engine, PrefixCache(size - 1, min_tokens=1), prompts[0]) == 8
    cache.clear()
    assert (cache.usage().nbytes, cache.usage().prompts) == (0, 0)
    assert ran(engine, cache, prompts[0]) == 8


def test_a_larger_one_than_all_of_it_costs_nobody_his_place(engine: Engine) -> None:
    cache = PrefixCache(400, min_tokens=1)
    ran(engine, cache, SYSTEM)
    ran(engine, cache, [2] * 600)
    assert cache.usage().prompts == 1
    assert ran(engine, cache, SYSTEM) == 0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    prompts=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=2, max_size=12),
    budget=st.integers(0, 1500),
    least=st.integers(1, 5),
)
def test_nobody_can_tell(engine: Engine, prompts: list[list[int]], budget: int, least: int) -> None:
    cache = PrefixCache(budget, min_tokens=least)
    sessions = [engine.session(2, prefixes=cache) for _ in range(2)]
    for at, prompt in enumerate(prompts):
        session, row = sessions[at % 2], at // 2 % 2
        session.clear(row)
        rows: list[list[int] | None] = [None, None]
        rows[row] = prompt
        assert greedy(session, rows, new=3, stop=())[row] == toy_tokens(prompt, 3, ())
        assert cache.usage().nbytes <= budget
        assert session.native.broken() == ""


def test_a_failing_step_leaves_no_trace(engine: Engine) -> None:
    cache = PrefixCache(LARGE, min_tokens=4)
    ran(engine, cache, SYSTEM)
    session = engine.session(prefixes=cache)
    with pytest.raises(Exception, match="a step failed"):
        session.prefill([[*SYSTEM, POISON]])
    assert session.tokens == [[]]
    assert greedy(session, [SYSTEM], new=3, stop=()) == [toy_tokens(SYSTEM, 3, ())]


def test_engines_do_not_meet(engine: Engine, tmp_path: Path) -> None:
    cache = PrefixCache(LARGE, min_tokens=1)
    other = Engine.open(write_toy(tmp_path / "other", model={"another": 1}))
    same = Engine.open(write_toy(tmp_path / "same"))
    assert ran(engine, cache, SYSTEM) == 8
    assert ran(other, cache, SYSTEM) == 8
    assert ran(same, cache, SYSTEM) == 0
    assert cache.usage().prompts == 2


def test_sessions_in_threads(engine: Engine) -> None:
    cache = PrefixCache(2000, min_tokens=1)
    wrong: list[object] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        session = engine.session(prefixes=cache)
        for _ in range(150):
            session.clear(0)
            prompt = rng.integers(0, 3, rng.integers(1, 10)).tolist()
            found = greedy(session, [prompt], new=2, stop=())
            if found != [toy_tokens(prompt, 2, ())]:
                wrong.append((prompt, found))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.usage().hits > 50


def test_arguments() -> None:
    with pytest.raises(InputError, match="budget is -1, expected an integer, at least 0"):
        PrefixCache(-1)
    with pytest.raises(InputError, match="min_tokens is 0, expected an integer, at least 1"):
        PrefixCache(1, min_tokens=0)
