"""Calls of our plugins for TensorRT, stand-ins in their place, against transformers."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from deltaport.custom_ops.definitions import DOMAIN
from deltaport.exporter.export import export_checkpoint
from deltaport.graph_passes.quantize.quantization_recipe import quantization_recipe
from deltaport.numerics import Quantity, relative_error, tolerance
from deltaport.package import Manifest
from tests.dequantized_checkpoint import dequantized
from tests.greedy import greedy
from tests.parity.cases import CASES
from tests.parity.conftest import Original
from tests.parity.oracle import GREEDY_TOKENS, Oracle
from tests.parity.state_errors import state_errors
from tests.parity.targets import WITH_PLUGINS
from tests.parity.traces import trace_once
from tests.without_tensorrt import open_without_tensorrt

UNEVEN = next(case for case in CASES if "value heads" in case.name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an engine is to be exported to."""
    monkeypatch.setattr("deltaport.exporter.trace.trace", trace_once)
    return tmp_path / "engine"


def check(folder: Path, original: Original) -> None:
    """The engine agrees with the oracle of ``original``."""
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


@pytest.mark.parametrize("original", [UNEVEN], ids=[UNEVEN.name], indirect=True)
def test_agrees_with_transformers(original: Original, folder: Path) -> None:
    export_checkpoint(original.checkpoint, folder, target=WITH_PLUGINS, dtype="float32")
    check(folder, original)


def asymmetric(to: Path) -> str:
    """The recipe int4, but for experts with offsets and blocks of another size."""
    formats = dict(quantization_recipe("int4").formats)
    lines = [f'"{role}" = "{format_}"' for role, format_ in formats.items() if "expert" not in role]
    experts = ['experts = "int4 block=64 asymmetric"', 'shared_expert = "int8 asymmetric"']
    to.write_text("\n".join(["[roles]", *lines, *experts]))
    return str(to)


@pytest.mark.parametrize("original", [UNEVEN], ids=[UNEVEN.name], indirect=True)
@pytest.mark.parametrize("recipe", ["int8", "asymmetric"])
def test_quantized_agrees_with_transformers(
    original: Original, recipe: str, folder: Path, tmp_path: Path
) -> None:
    """Of the dequantized weights: plugins round no activations."""
    chosen = recipe if recipe == "int8" else asymmetric(tmp_path / "recipe.toml")
    export_checkpoint(
        original.checkpoint, folder, target=WITH_PLUGINS, dtype="float32", quantize=chosen
    )
    model = onnx.load(str(folder / "decoder.onnx"), load_external_data=False)
    assert "QuantizedSharedExpertMoE" in {
        node.op_type for node in model.graph.node if node.domain == DOMAIN
    }
    other = dequantized(original.checkpoint, tmp_path / "dequantized", chosen)
    check(folder, Original(original.case, other, Oracle(other)))
