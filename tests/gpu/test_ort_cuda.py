"""Engines of ``ort-cuda`` on the GPU of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gpu.parity import CHECKPOINTS, Record, export, make_checkpoint, verify


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_parity(name: str, dtype: str, tmp_path: Path, record_property: Record) -> None:
    checkpoint, engine = make_checkpoint(name, tmp_path), tmp_path / "engine"
    export(checkpoint, engine, "ort-cuda", "--dtype", dtype)
    verify(engine, checkpoint, record_property, "--device", "cuda")
