"""Engines on a GPU against transformers, by the commands that users have."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tests.checkpoints import save_checkpoint
from tests.end_to_end.command import deltaport
from tests.end_to_end.cpp_programs import ROOT

__all__ = ["CHECKPOINTS", "Record", "export", "make_checkpoint", "verify"]

# Heads of attention as wide as those of the published models, for which TensorRT has kernels in
# two bytes only.
_DENSE: dict[str, Any] = {
    "kind": "dense",
    "dtype": torch.bfloat16,
    "head_dim": 256,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
}
_MIXTURE: dict[str, Any] = {"kind": "moe", "dtype": torch.bfloat16}
CHECKPOINTS: Mapping[str, dict[str, Any] | None] = {
    "mixture": _MIXTURE,
    "dense": _DENSE,
    "demo": None,
}
"""Small ones as ``save_checkpoint`` makes them, and the demo's."""

Record = Callable[[str, object], None]
"""pytest's ``record_property``."""


def make_checkpoint(name: str, folder: Path) -> Path:
    """The checkpoint of that name, in ``folder`` unless it is the demo's."""
    given = CHECKPOINTS[name]
    if given is None:
        return ROOT / "examples" / "demo_checkpoint"
    return save_checkpoint(folder / "checkpoint", **given)


def export(checkpoint: Path, engine: Path, target: str, *options: str | Path) -> None:
    done = deltaport(
        "export", checkpoint, "-o", engine, "--target", target, *options, "--quiet", timeout=1800
    )
    assert done.returncode == 0, done.stderr


def verify(engine: Path, checkpoint: Path, record: Record, *options: str) -> None:
    """It is equal within the bounds of the one policy; the largest errors are recorded."""
    done = deltaport(
        "verify", engine, "--against", checkpoint, "--json", "--quiet", *options, timeout=1800
    )
    assert done.returncode in (0, 3), done.stderr
    report = json.loads(done.stdout)
    assert report["equal"], report["verdict"]
    runs = [run for prompt in report["prompts"] for run in prompt["runs"].values()]
    record("logit error", max(run["logit_error"] for run in runs))
