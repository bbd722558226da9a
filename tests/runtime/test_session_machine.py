"""Whatever is done to the rows of a session, in any order, each is what it would be alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltaport.errors import EngineError, InputError
from tests.runtime.any_calls import run_any_calls
from tests.runtime.session_model import FREE, unchanged
from tests.runtime.toy_engine import POISON, toy_tokens
from tests.runtime.toy_variants import VARIANTS, open_toy


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_mixture_of_calls(variant: str, tmp_path: Path) -> None:
    run_any_calls(open_toy(tmp_path, **VARIANTS[variant]), tmp_path)


def test_a_row_without_logits_needs_a_token(tmp_path: Path) -> None:
    session = open_toy(tmp_path).session()
    with pytest.raises(EngineError):
        session.prefill([[1, 2, POISON]], chunk_size=2)
    assert (session.tokens, session.lengths) == ([[1, 2]], [2])
    with unchanged(session, InputError, "row 0 has no logits to go on from"):
        session.generate(None, FREE)
    assert session.generate([[3]], FREE)[0].tokens == toy_tokens([1, 2, 3], 6, ())
