"""What the options of a plan come to, target by target."""

from __future__ import annotations

from typing import Any

import click
import pytest

from deltaport.cli.plan_options import chosen_plan
from deltaport.exporter.tensorrt.plan_options import PlanOptions

NOTHING: dict[str, Any] = {
    "slots": None,
    "prefill_tokens": None,
    "context": None,
    "gpu": None,
    "plugins": None,
    "timing_cache": None,
    "no_plan": False,
}


def chosen(target: str, **given: Any) -> PlanOptions | None:
    return chosen_plan(target, **(NOTHING | given))


def test_targets_that_take_a_plan_have_one_by_default() -> None:
    assert chosen("tensorrt-plain") == PlanOptions()
    assert chosen("portable") is None
    assert chosen("tensorrt-plain", no_plan=True) is None


def test_what_is_said_is_what_is_built() -> None:
    given = {"slots": 2, "prefill_tokens": 100, "context": 300, "gpu": "sm120"}
    files = {"plugins": "a.so", "timing_cache": "times"}
    assert chosen("tensorrt", **given, **files) == PlanOptions(**given, **files)


def test_plugins_may_stand_in_the_environment_of_any_export() -> None:
    assert chosen("portable", plugins="a.so") is None
    assert chosen("tensorrt-plain", plugins="a.so") == PlanOptions()


@pytest.mark.parametrize(
    ("target", "given", "message"),
    [
        ("portable", {"gpu": "sm89"}, "--gpu is of no use with --target portable"),
        ("ort-cuda", {"no_plan": True}, "--no-plan is of no use with --target ort-cuda"),
        ("tensorrt", {"no_plan": True, "slots": 1}, "--slots is of no use with --no-plan"),
        ("ort-cpu", {"prefill_tokens": 1}, "--prefill-tokens is of no use"),
        ("ort-cpu", {"context": 1}, "--context is of no use"),
        ("ort-cpu", {"timing_cache": "times"}, "--timing-cache is of no use"),
    ],
)
def test_options_of_no_use_are_refused(target: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(click.UsageError, match=message):
        chosen(target, **given)
