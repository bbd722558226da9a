"""Who runs with whom, and what each run of the decoder is fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deltaport.runtime.step_plan import StepPlan, plan_steps

SLOTS = 6


@st.composite
def steps(draw: st.DrawFn) -> tuple[dict[int, list[int]], dict[int, Sequence[int]]]:
    """Tokens of some rows, in any order, and after which of them logits are wanted."""
    rows = draw(st.lists(st.integers(0, SLOTS - 1), unique=True, min_size=1))
    sizes = st.one_of(st.just(1), st.integers(1, 5))
    work = {row: [10 * row + i for i in range(draw(sizes))] for row in rows}
    kinds = st.sampled_from(["none", "last", "all"])
    wanted: dict[int, Sequence[int]] = {}
    for row, tokens in work.items():
        last = [len(tokens) - 1]
        wanted[row] = {"none": [], "last": last, "all": range(len(tokens))}[draw(kinds)]
    return work, wanted


def plans_of(
    work: Mapping[int, Sequence[int]], wanted: Mapping[int, Sequence[int]], *, ragged: bool
) -> list[StepPlan]:
    past = np.arange(100, 100 + SLOTS)
    plans = list(plan_steps(work, past, wanted, ragged=ragged))
    assert past.tolist() == list(range(100, 100 + SLOTS))
    return plans


def run(plans: Sequence[StepPlan]) -> dict[int, list[tuple[int, int]]]:
    """Position and token of everything that is run, by slot; shapes are checked on the way."""
    found: dict[int, list[tuple[int, int]]] = {}
    for plan in plans:
        rows = range(SLOTS)[plan.slots]
        B, T = len(rows), plan.width
        inputs = plan.inputs
        assert inputs["input_ids"].shape == (B, T)
        assert inputs["positions"].shape == (3, B, T)
        assert all(inputs[name].shape == (B,) for name in ("lengths", "past_lengths"))
        for i, row in enumerate(rows):
            assert inputs["past_lengths"][i] == 100 + row
            for t in range(plan.lengths[i]):
                places = set(inputs["positions"][:, i, t].tolist())
                assert len(places) == 1
                found.setdefault(row, []).append((places.pop(), int(inputs["input_ids"][i, t])))
    return found


def logits_of(plans: Sequence[StepPlan]) -> dict[int, list[int]]:
    """The tokens whose logits each row is told are its own."""
    found: dict[int, list[int]] = {}
    for plan in plans:
        flat = plan.inputs["input_ids"].reshape(-1)
        tokens = flat[plan.inputs["logit_index"]].tolist()
        assert len(tokens) == plan.logit_rows
        for row, count in plan.picks.items():
            found[row], tokens = tokens[:count], tokens[count:]
        assert not tokens
    return found


@given(steps())
def test_every_row_runs_its_tokens_once_whatever_the_decoder_takes(
    step: tuple[dict[int, list[int]], dict[int, Sequence[int]]],
) -> None:
    work, wanted = step
    expected = {row: [(100 + row + i, t) for i, t in enumerate(ts)] for row, ts in work.items()}
    read = {row: [work[row][i] for i in at] for row, at in wanted.items() if at}
    for ragged in (True, False):
        plans = plans_of(work, wanted, ragged=ragged)
        assert run(plans) == expected
        assert logits_of(plans) == read


@given(steps())
def test_a_ragged_decoder_runs_all_slots_at_once(
    step: tuple[dict[int, list[int]], dict[int, Sequence[int]]],
) -> None:
    (plan,) = plans_of(*step, ragged=True)
    assert plan.slots == slice(0, SLOTS)


@given(steps())
def test_any_other_runs_no_padding_and_no_idle_slot(
    step: tuple[dict[int, list[int]], dict[int, Sequence[int]]],
) -> None:
    plans = plans_of(*step, ragged=False)
    for plan in plans:
        assert (plan.lengths == plan.width).all()
        assert plan.width == 1 or len(plan.lengths) == 1
    # As few runs as can be: of two neighbours with a token each, both are in one.
    for before, after in pairwise(plans):
        apart = before.slots.stop < after.slots.start
        assert apart or before.width > 1 or after.width > 1
