"""What errors amount to: which bounds hold, what fails, and what is excused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deltaport.errors import EngineError
from deltaport.numerics import Quantity, tolerance
from deltaport.state_layout import StateLayout, StateTensor
from deltaport.verify.bounds import Bounds, lossy_dtype
from deltaport.verify.engine_run import CHUNKED, WHOLE, EngineRun
from deltaport.verify.matrix_rounding import MatrixRounding
from deltaport.verify.oracle import Reference
from deltaport.verify.prompts import Prompt
from deltaport.verify.report import Report
from deltaport.verify.verdict import PromptResult, compare_prompt

FLOAT32 = Bounds("float32")
LAYOUT = StateLayout(
    (
        StateTensor(
            0, "recurrent", "past.0.r", "present.0.r", ("slots", 2), "float32", "swap", False
        ),
        StateTensor(0, "conv", "past.0.c", "present.0.c", ("slots", 2), "float32", "swap", False),
    )
)
PROMPT = Prompt("story", [1, 2, 3])
LOGITS = np.array([[1.0, 10.0, 3.0], [4.0, 2.0, -1.0], [0.0, 5.0, 1.0]], np.float32)
GREEDY = np.array([[0.0, 5.0, 1.0], [2.0, 0.0, 7.0]], np.float32)


def reference(**changes: Any) -> Reference:
    state = {name: np.ones((1, 2), np.float32) for name in ("past.0.r", "past.0.c")}
    margins = np.full(3, 0.5, np.float32)
    like = Reference(LOGITS, state, {}, margins, [1, 2], GREEDY, margins[:2])
    return replace(like, **changes)


def run(like: Reference, **changes: Any) -> EngineRun:
    return replace(EngineRun(like.logits, like.state, like.greedy, like.greedy_logits), **changes)


def compared(like: Reference, bounds: Bounds = FLOAT32, **runs: EngineRun) -> PromptResult:
    by_cut = {
        WHOLE: runs.get("whole", run(like)),
        CHUNKED: runs.get("chunked", run(like)),
    }
    return compare_prompt(PROMPT, like, by_cut, LAYOUT, bounds)


def report_of(*results: PromptResult) -> Report:
    return Report(
        engine="e", checkpoint="c", oracle="an oracle", engine_dtype="float32",
        checkpoint_dtype="float32", rounding=MatrixRounding(), passes=None, bounds=FLOAT32,
        not_compared={}, prompts=results, layers=None, notes=(),
    )  # fmt: skip


def shifted(logits: np.ndarray, token: int, by: float) -> np.ndarray:
    changed = logits.copy()
    changed[token, 0] += by
    return changed


class TestBounds:
    @pytest.mark.parametrize(
        ("engine", "checkpoint", "dtype"),
        [
            ("float32", "float32", None),
            ("bfloat16", "bfloat16", None),
            ("bfloat16+float32", "bfloat16+float32", None),
            ("float32", "bfloat16", None),
            ("bfloat16", "float32", "bfloat16"),
            ("float16", "bfloat16", "float16"),
            ("bfloat16", "bfloat16+float32", "bfloat16"),
        ],
    )
    def test_what_an_export_rounded_to(
        self, engine: str, checkpoint: str, dtype: str | None
    ) -> None:
        assert lossy_dtype(engine=engine, checkpoint=checkpoint, source="e") == dtype

    @pytest.mark.parametrize("engine", ["int4", "bfloat16+float32"])
    def test_what_no_export_writes_is_refused(self, engine: str) -> None:
        with pytest.raises(EngineError, match=r"^e: matrices are stored as .*expected the same"):
            lossy_dtype(engine=engine, checkpoint="float32", source="e")

    def test_they_are_those_of_the_one_policy(self) -> None:
        assert FLOAT32.logits == FLOAT32.router_tie == tolerance(Quantity.LOGITS)
        assert FLOAT32.state == tolerance(Quantity.MODEL_STATE)
        assert FLOAT32.stream == tolerance(Quantity.OUTPUT)
        half = Bounds("bfloat16")
        assert half.logits == half.state == half.stream == tolerance(Quantity.LOGITS, "bfloat16")


class TestDifferences:
    def test_the_same_is_equal(self) -> None:
        result = compared(reference())
        assert (result.differences, result.notes) == ((), ())
        assert result.greedy.matched == result.greedy.of == 2
        report = report_of(result)
        assert report.equal
        assert report.verdict() == "equal to an oracle within tolerance"

    @pytest.mark.parametrize(("by", "differs"), [(9e-4, False), (1.1e-3, True)])
    def test_the_bound_is_a_share_of_the_largest_logit(self, by: float, differs: bool) -> None:
        like = reference()
        result = compared(like, whole=run(like, logits=shifted(LOGITS, 1, by)))
        assert [found.what for found in result.differences] == ["logit error"] * differs
        assert result.runs[WHOLE].first_bad_token == (1 if differs else None)
        assert result.runs[CHUNKED].logit_error == 0

    def test_a_state_that_differs_in_chunks_only(self) -> None:
        like = reference()
        narrowed = {**like.state, "past.0.r": np.array([[1.0, 1.0004]], np.float32)}
        result = compared(like, chunked=run(like, state=narrowed))
        [found] = result.differences
        assert (found.what, found.where) == ("recurrent state error", "story, in chunks")
        assert found.found == pytest.approx(4e-4, rel=1e-3)
        assert result.runs[CHUNKED].state["conv"] == 0

    @pytest.mark.parametrize(
        ("dtype", "margin", "differs"),
        [("int8", 0.01, False), ("int8", 0.5, True), ("float32", 1e-5, True)],
    )
    def test_another_expert_may_show_in_rounded_state_alone(
        self, dtype: str, margin: float, differs: bool
    ) -> None:
        like = reference(margins=np.array([0.5, margin, 0.5], np.float32))
        other = {**like.state, "past.0.c": np.array([[1.0, 1.2]], np.float32)}
        result = compared(like, Bounds(dtype), whole=run(like, state=other))
        assert [found.what for found in result.differences] == ["conv state error"] * differs
        assert result.router_tied != differs
        assert bool(result.notes) != differs

    @pytest.mark.parametrize("factor", [0.0, 1.3, 1000.0])
    def test_no_expert_explains_a_state_that_is_far_off(self, factor: float) -> None:
        like = reference(margins=np.full(3, 1e-3, np.float32))
        other = {name: value * np.float32(factor) for name, value in like.state.items()}
        result = compared(like, Bounds("int8"), whole=run(like, state=other))
        assert len(result.differences) == 2

    def test_greedy_tokens_are_judged_whatever_the_state(self) -> None:
        like = reference(margins=np.full(3, 1e-3, np.float32))
        other = {**like.state, "past.0.c": np.array([[1.0, 1.2]], np.float32)}
        result = compared(like, Bounds("int8"), chunked=run(like, state=other, greedy=[1, 0]))
        assert [found.what for found in result.differences] == ["greedy tokens equal"]

    def test_logits_that_are_no_numbers(self) -> None:
        like = reference()
        report = report_of(compared(like, whole=run(like, logits=shifted(LOGITS, 0, np.nan))))
        assert not report.equal
        assert "logit error inf" in report.verdict()
        document = json.dumps(report.to_json(), allow_nan=False)
        assert json.loads(document)["differences"][0]["found"] is None

    def test_the_verdict_names_the_worst_of_a_kind(self) -> None:
        like = reference()
        mild = compared(like, whole=run(like, logits=shifted(LOGITS, 1, 0.01)))
        bad = compared(like, chunked=run(like, logits=shifted(LOGITS, 1, 0.1)))
        verdict = report_of(mild, bad).verdict()
        assert verdict == (
            "DIFFERS from an oracle: logit error 1.0e-02 (allowed 1.0e-04; story, in chunks)"
        )


class TestGreedy:
    def test_other_tokens_are_a_difference(self) -> None:
        like = reference()
        result = compared(like, chunked=run(like, greedy=[1, 0]))
        assert (result.greedy.matched, result.greedy.tie) == (1, False)
        verdict = report_of(result).verdict()
        assert verdict == "DIFFERS from an oracle: greedy tokens differ after 1 of 2 (story)"

    def test_a_tie_that_rounding_decides_is_none(self) -> None:
        close = np.array([[0.0, 5.0, 1.0], [7.0 - 1.3e-3, 0.0, 7.0]], np.float32)
        like = reference(greedy_logits=close)
        result = compared(like, chunked=run(like, greedy=[1, 0]))
        assert (result.greedy.matched, result.greedy.tie) == (1, True)
        assert result.differences == ()
        assert "greedy token 2" in result.notes[0]

    def test_a_gap_that_two_errors_within_bounds_cannot_close_is_no_tie(self) -> None:
        close = np.array([[0.0, 5.0, 1.0], [7.0 - 1.5e-3, 0.0, 7.0]], np.float32)
        like = reference(greedy_logits=close)
        assert not compared(like, chunked=run(like, greedy=[1, 0])).greedy.tie

    def test_logits_behind_equal_tokens_count(self) -> None:
        like = reference()
        result = compared(like, chunked=run(like, greedy_logits=shifted(GREEDY, 1, 0.01)))
        [found] = result.differences
        assert found.what == "logit error while continuing"
        assert found.found == pytest.approx(0.01 / 7, rel=1e-5)

    def test_logits_after_different_tokens_do_not(self) -> None:
        # The second token was picked after another first one: its logits answer another question.
        close = np.array([[0.0, 5.0, 5.0], [2.0, 0.0, 7.0]], np.float32)
        like = reference(greedy_logits=close)
        other = shifted(close, 1, 3.0)
        result = compared(like, chunked=run(like, greedy=[2, 2], greedy_logits=other))
        assert (result.greedy.matched, result.greedy.tie) == (0, True)
        assert result.differences == ()


class TestRouterTies:
    TIED = np.array([0.5, 5e-5, 0.2], np.float32)

    def test_where_results_first_part_it_excuses_all_that_follows(self) -> None:
        like = reference(margins=self.TIED)
        other = shifted(shifted(LOGITS, 1, 1.0), 2, 2.0)
        state = {name: value + 1 for name, value in like.state.items()}
        flipped = run(like, logits=other, state=state, greedy=[0, 0])
        result = compared(like, whole=flipped, chunked=flipped)
        assert result.differences == ()
        assert result.router_tied
        assert "at token 2 two experts are 5.0e-05 apart" in result.notes[0]
        assert (result.router_margin_token, result.runs[WHOLE].tie) == (1, True)
        assert result.router_margin == pytest.approx(5e-5)
        verdict = report_of(result, compared(reference())).verdict()
        assert verdict == (
            "equal to an oracle within tolerance, up to router ties in 1 of 2 prompts"
        )

    @pytest.mark.parametrize("token", [0, 2])
    def test_anywhere_else_it_explains_nothing(self, token: int) -> None:
        like = reference(margins=self.TIED)
        result = compared(like, whole=run(like, logits=shifted(LOGITS, token, 1.0)))
        assert len(result.differences) == 1
        assert (result.router_tied, result.notes) == (False, ())

    def test_it_excuses_no_state_whose_logits_are_right(self) -> None:
        like = reference(margins=self.TIED)
        state = {name: value + 1 for name, value in like.state.items()}
        assert len(compared(like, whole=run(like, state=state)).differences) == 2

    def test_one_run_that_ties_excuses_no_other(self) -> None:
        like = reference(margins=self.TIED)
        result = compared(
            like,
            whole=run(like, logits=shifted(LOGITS, 1, 1.0)),
            chunked=run(like, logits=shifted(LOGITS, 0, 1.0)),
        )
        assert [found.where for found in result.differences] == ["story, in chunks"]

    def test_no_expert_gives_what_is_no_number(self) -> None:
        like = reference(margins=self.TIED)
        result = compared(like, whole=run(like, logits=shifted(LOGITS, 1, np.nan)))
        assert len(result.differences) == 1

    @pytest.mark.parametrize(("token", "excused"), [(0, False), (1, True)])
    def test_while_continuing(self, token: int, excused: bool) -> None:
        like = reference(greedy_margins=self.TIED[:2])
        other = run(like, greedy_logits=shifted(GREEDY, token, 1.0), greedy=[1, 0])
        result = compared(like, chunked=other)
        assert (result.differences == ()) == result.router_tied == excused
        assert ("while greedy tokens are chosen" in " ".join(result.notes)) == excused

    def test_without_a_difference_there_is_nothing_to_explain(self) -> None:
        assert compared(reference(margins=self.TIED)).notes == ()
