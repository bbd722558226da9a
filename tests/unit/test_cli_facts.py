"""What ``deltaport inspect`` finds out beyond what the specification spells out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deltaport.cli.facts import gather
from tests.unit.test_model_spec import DENSE_TEXT, YARN


@pytest.mark.parametrize(("factor", "positions"), [(4.0, 400), (0, 64)])
def test_positions_include_the_extension_by_yarn(
    factor: float, positions: int, tmp_path: Path
) -> None:
    config = DENSE_TEXT | {"max_position_embeddings": 64}
    if factor:
        yarn = YARN | {"factor": factor, "original_max_position_embeddings": 100}
        config |= {"rope_parameters": yarn}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert gather(tmp_path)["max_positions"] == positions
