"""By default a generation ends where transformers' own ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from deltaport.exporter.export import export_checkpoint
from deltaport.runtime import Engine
from tests.checkpoints import save_checkpoint
from tests.greedy import greedy
from tests.parity.oracle import GREEDY_TOKENS, Oracle

PROMPT = [11, 42, 7, 199, 3]


def _continue(oracle: Oracle) -> list[int]:
    ids = torch.tensor([PROMPT])
    output = oracle.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=GREEDY_TOKENS, do_sample=False
    )
    tokens: list[int] = output[0, len(PROMPT) :].tolist()
    return tokens


def _alter(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize("named_by", ["generation_config.json", "config.json"])
def test_a_generation_ends_where_that_of_transformers_ends(named_by: str, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(
        tmp_path / "checkpoint",
        seed=21,
        kind="dense",
        num_hidden_layers=2,
        layer_types=["linear_attention", "full_attention"],
    )
    free = _continue(Oracle(checkpoint))
    first_seen = list(dict.fromkeys(free))  # an id ends the text where it occurs first
    early, middle, late = first_seen[2], first_seen[4], first_seen[6]
    if named_by == "generation_config.json":
        # config.json would end it sooner, and of the two listed the second comes first.
        _alter(checkpoint / "config.json", eos_token_id=early)
        _alter(checkpoint / named_by, eos_token_id=[late, middle])
        end = middle
    else:
        _alter(checkpoint / named_by, eos_token_id=[late, early])
        (checkpoint / "generation_config.json").unlink()
        end = early

    theirs = _continue(Oracle(checkpoint))
    assert theirs == free[: free.index(end) + 1]

    export_checkpoint(checkpoint, tmp_path / "engine")
    session = Engine.open(tmp_path / "engine").session()
    assert greedy(session, [PROMPT], new=GREEDY_TOKENS) == [theirs]
