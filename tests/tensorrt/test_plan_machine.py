"""Whatever is done to the rows of a session over a plan, each is what it would be alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from deltaport.runtime import Engine
from tests.runtime.session_machine_failures import FailureRules
from tests.runtime.session_machine_rows import RowRules
from tests.runtime.session_machine_steps import StepRules
from tests.tensorrt.fake_plans import FakeTensorRt
from tests.tensorrt.planned_toy import write_planned_toy


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_any_mixture_of_calls(
    slots: int, fake_tensorrt: FakeTensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Machine(RowRules, StepRules, FailureRules):
        pass

    fake_tensorrt.use(monkeypatch)
    Machine.engine = Engine.open(write_planned_toy(tmp_path, slots=slots))
    Machine.folder = tmp_path
    case: Any = Machine.TestCase()
    case.settings = settings(
        max_examples=40,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    case.runTest()
