"""Any mixture of calls of a session, against what each row would be alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from deltaport.runtime import Engine
from tests.runtime.session_machine_failures import FailureRules
from tests.runtime.session_machine_rows import RowRules
from tests.runtime.session_machine_steps import StepRules

__all__ = ["run_any_calls"]


def run_any_calls(engine: Engine, folder: Path) -> None:
    """Run the state machine over sessions of ``engine``, a toy; ``folder`` is for snapshots."""

    class Machine(RowRules, StepRules, FailureRules):
        pass

    Machine.engine = engine
    Machine.folder = folder
    case: Any = Machine.TestCase()
    case.settings = settings(
        max_examples=40,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    case.runTest()
