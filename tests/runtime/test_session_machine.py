"""Whatever is done to the rows of a session, in any order, each is what it would be alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from deltaport.errors import EngineError, InputError
from tests.runtime.session_machine_failures import FailureRules
from tests.runtime.session_machine_rows import RowRules
from tests.runtime.session_machine_steps import StepRules
from tests.runtime.session_model import FREE, unchanged
from tests.runtime.toy_engine import POISON, toy_tokens
from tests.runtime.toy_variants import VARIANTS, open_toy


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_mixture_of_calls(variant: str, tmp_path: Path) -> None:
    class Machine(RowRules, StepRules, FailureRules):
        pass

    Machine.engine = open_toy(tmp_path, **VARIANTS[variant])
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


def test_a_row_without_logits_needs_a_token(tmp_path: Path) -> None:
    session = open_toy(tmp_path).session()
    with pytest.raises(EngineError):
        session.prefill([[1, 2, POISON]], chunk_size=2)
    assert (session.tokens, session.lengths) == ([[1, 2]], [2])
    with unchanged(session, InputError, "row 0 has no logits to go on from"):
        session.generate(None, FREE)
    assert session.generate([[3]], FREE)[0].tokens == toy_tokens([1, 2, 3], 6, ())
