"""Calls of our plugins for TensorRT, their definitions in their place, against transformers."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltaport.exporter.export import export_checkpoint
from deltaport.numerics import Quantity, relative_error, tolerance
from deltaport.package import Manifest
from tests.greedy import greedy
from tests.parity.cases import CASES
from tests.parity.conftest import Original
from tests.parity.oracle import GREEDY_TOKENS
from tests.parity.state_errors import state_errors
from tests.parity.targets import WITH_PLUGINS
from tests.parity.traces import trace_once
from tests.without_tensorrt import open_without_tensorrt

UNEVEN = next(case for case in CASES if "value heads" in case.name)


@pytest.mark.parametrize("original", [UNEVEN], ids=[UNEVEN.name], indirect=True)
def test_agrees_with_transformers(
    original: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deltaport.exporter.trace.trace", trace_once)
    folder = tmp_path / "engine"
    export_checkpoint(original.checkpoint, folder, target=WITH_PLUGINS, dtype="float32")
    manifest = Manifest.from_json((folder / "manifest.json").read_text(), source="manifest.json")
    assert {tensor.update for tensor in manifest.state} == {"in_place"}
    engine = open_without_tensorrt(folder)
    for length, chunk_size in ((65, 512), (129, 64), (7, 1)):
        reference = original.prompt(original.case.seed, length)
        session = engine.session()
        (logits,) = session.prefill([reference.prompt], chunk_size=chunk_size, logits="all")
        assert logits is not None
        assert relative_error(logits, reference.logits) <= tolerance(Quantity.LOGITS)
        for kind, error in state_errors(session, reference).items():
            assert error <= tolerance(Quantity.MODEL_STATE), kind
        assert greedy(session, new=GREEDY_TOKENS, stop=()) == [reference.greedy]
