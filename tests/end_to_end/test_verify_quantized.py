"""``deltaport verify`` of quantized engines: sound ones are equal, damaged ones are not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from deltaport.exporter.export import export_checkpoint
from tests.checkpoints import save_checkpoint
from tests.end_to_end.command import error_line, in_process
from tests.end_to_end.engine_surgery import vouch

QUICK = ("-q", "--threads", "1", "-n", "4")


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, its head tied to the embedding."""
    folder = tmp_path_factory.mktemp("dense") / "checkpoint"
    return save_checkpoint(folder, kind="dense", tie=True, seed=9)


@pytest.fixture(scope="module")
def dense_engine(dense: Path) -> Path:
    """Its engine of 4 and 8 bits; not to be written to."""
    folder = dense.parent / "engine"
    export_checkpoint(dense, folder, target="ort-cpu", quantize="int4")
    return folder


def verified(engine: Path, checkpoint: Path, *options: str, status: int = 0) -> dict[str, Any]:
    result = in_process("verify", engine, "--against", checkpoint, "--json", *QUICK, *options)
    assert (result.returncode, result.stderr) == (status, ""), result
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.mark.parametrize("oracle", ["transformers", "eager"])
def test_a_sound_engine_is_equal(dense_engine: Path, dense: Path, oracle: str) -> None:
    report = verified(dense_engine, dense, "--oracle", oracle, "--layers")
    assert report["stored_as"]["oracle_quantized_by"] == "int4"
    assert report["allowed"]["rounding_of"] == "int8"
    errors = [prompt["runs"]["whole"]["logit_error"] for prompt in report["prompts"]]
    # Until the first activation that lies between two codes both are equal to float32's bounds.
    assert min(errors) < 1e-6
    assert max(errors) < 2e-2


def test_a_mixture_with_a_vision_tower(checkpoint: Path, tmp_path: Path) -> None:
    export_checkpoint(checkpoint, tmp_path / "engine", quantize="int8")
    report = verified(tmp_path / "engine", checkpoint)
    errors = [prompt["runs"]["whole"]["logit_error"] for prompt in report["prompts"]]
    assert min(errors) < 1e-6


@pytest.mark.parametrize(
    "weight", ["layers.1.linear_attn.in_proj_qkv+in_proj_z", "layers.3.mlp.down_proj"]
)
def test_scales_in_the_wrong_place_differ(
    dense_engine: Path, dense: Path, tmp_path: Path, weight: str
) -> None:
    altered = Path(shutil.copytree(dense_engine, tmp_path / "engine"))
    model = onnx.load(str(altered / "decoder.onnx"), load_external_data=False)
    [scales] = [w for w in model.graph.initializer if w.name == f"model.{weight}.weight.scales"]
    place = {entry.key: int(entry.value) for entry in scales.external_data[1:]}
    data = bytearray((altered / "decoder.onnx.data").read_bytes())
    part = data[place["offset"] : place["offset"] + place["length"]]
    half = len(part) // 2
    data[place["offset"] : place["offset"] + place["length"]] = part[half:] + part[:half]
    (altered / "decoder.onnx.data").write_bytes(data)
    vouch(altered)
    report = verified(altered, dense, "--layers", status=3)
    layer = int(weight.split(".")[1])
    assert report["layers"]["departure"]["layer"] == layer


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_prefix_quantizes_once_its_passes_do(
    dense_engine: Path, dense: Path, before: bool
) -> None:
    from deltaport.graph_passes.pipeline import default_pipeline
    from deltaport.graph_passes.target_capabilities import TARGETS

    names = [each.name for each in default_pipeline(TARGETS["ort-cpu"], "int4")]
    count = names.index("quantize-weights") + (0 if before else 1)
    report = verified(dense_engine, dense, "--ids", "3,1,4,1,5", "--passes-prefix", str(count))
    assert report["allowed"]["rounding_of"] == ("float32" if before else "int8")
    assert ("choose-formats" in report["passes_prefix"]["pipeline"]) != before


def test_what_no_bound_tells(dense_engine: Path, dense: Path) -> None:
    result = in_process("verify", dense_engine, "--against", dense, "-q", "--unrounded")
    assert "--unrounded: " in error_line(result)
    assert "deltaport eval" in error_line(result)


def test_a_prefix_of_a_recipe_that_is_not_at_hand(dense: Path, tmp_path: Path) -> None:
    """Not even if it is called like one."""
    (tmp_path / "int4.toml").write_text('[roles]\nmlp = "int4"\n')
    engine = tmp_path / "engine"
    export_checkpoint(dense, engine, target="ort-cpu", quantize=str(tmp_path / "int4.toml"))
    assert verified(engine, dense)["stored_as"]["oracle_quantized_by"] == "int4"
    result = in_process("verify", engine, "--against", dense, "-q", "--passes-prefix", "3")
    assert "quantized by 'int4', which does not come with deltaport" in error_line(result)
