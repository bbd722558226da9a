"""Whatever is done to the rows of a session over a plan, each is what it would be alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltaport.runtime import Engine
from tests.greedy import greedy
from tests.runtime.any_calls import run_any_calls
from tests.runtime.toy_engine import toy_tokens
from tests.tensorrt.fake_plans import FakeTensorRt
from tests.tensorrt.planned_toy import write_planned_toy


def test_more_rows_than_steps_are_kept_for(
    fake_tensorrt: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of rows that decode one by one, some have recorded steps and keep them."""
    fake_tensorrt.use(monkeypatch)
    rows, steps = 20, 10
    session = Engine.open(write_planned_toy(tmp_path, slots=1)).session(rows)
    prompts = [[row % 20, row % 3] for row in range(rows)]
    launches = fake_tensorrt.launches()
    generated = greedy(session, prompts, new=steps, stop=())
    assert generated == [toy_tokens(prompt, steps, ()) for prompt in prompts]
    # Of 40 kinds of step, two a row, 32 are kept; each came 4 or 5 times, and from the third on
    # is recorded.
    kept, recorded = 32, fake_tensorrt.launches() - launches
    assert 2 * kept <= recorded <= 3 * kept
    session.close()


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_any_mixture_of_calls(
    slots: int, fake_tensorrt: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_tensorrt.use(monkeypatch)
    run_any_calls(Engine.open(write_planned_toy(tmp_path, slots=slots)), tmp_path)
