"""Quantized engines that dequantize, against float engines of the dequantized weights."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest

from deltaport.exporter.export import export_checkpoint
from deltaport.exporter.export_plan import checked
from deltaport.graph_passes.quantize.quantization_recipe import quantization_recipe
from deltaport.numerics import Quantity, relative_error, tolerance
from deltaport.package import open_package
from deltaport.verify.matrix_rounding import MatrixRounding
from deltaport.verify.open_oracle import open_oracle
from tests.checkpoints import save_checkpoint
from tests.dequantized_checkpoint import dequantized
from tests.end_to_end.command import error_line, in_process
from tests.oracles import Array
from tests.without_tensorrt import open_without_tensorrt

TARGET = "tensorrt-plain"
PROMPT = [3, 1, 4, 1, 5, 92, 65, 35, 89, 79, 32, 38, 46, 264, 33, 83, 27, 95, 0, 288]


def logits_of(checkpoint: Path, engine: Path, recipe: str | None) -> list[Array]:
    """Of a prompt, then of some tokens one by one."""
    export_checkpoint(checkpoint, engine, target=TARGET, quantize=recipe)
    with open_without_tensorrt(engine).session() as session:
        (prompt,) = session.prefill([PROMPT], logits="all")
        return [*prompt, *(session.decode([token])[0] for token in (7, 8, 9))]


@pytest.mark.parametrize("kind", ["dense", "tied", "moe"])
@pytest.mark.parametrize("recipe", ["fp8", "int8", "int4", "int4-all"])
def test_logits(recipe: str, kind: str, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(
        tmp_path / "checkpoint",
        seed=7,
        kind="moe" if kind == "moe" else "dense",
        tie=kind == "tied",
    )
    other = dequantized(checkpoint, tmp_path / "dequantized", recipe)
    found = logits_of(checkpoint, tmp_path / "engine", recipe)
    expected = logits_of(other, tmp_path / "float", None)
    errors = [relative_error(a, b) for a, b in zip(found, expected, strict=True)]
    assert max(errors) <= tolerance(Quantity.LOGITS), errors
    model = onnx.load(str(tmp_path / "engine" / "decoder.onnx"), load_external_data=False)
    dequantizing = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert len(dequantizing) == sum(
        tensor.name.endswith(".codes") for tensor in model.graph.initializer
    )


@pytest.mark.parametrize("recipe", ["fp8", "int4-all"])
def test_bytes_are_told(recipe: str, single_layer: Path, tmp_path: Path) -> None:
    """Those of the codes and scales; the table is none of them."""
    engine = tmp_path / "engine"
    made = in_process("export", single_layer, "-o", engine, *options(recipe), "--no-plan")
    assert made.returncode == 0, made.stderr
    quantization = open_package(engine).quantization
    assert quantization is not None
    assert "embedding" not in quantization.roles
    model = onnx.load(str(engine / "decoder.onnx"), load_external_data=False)
    sizes = [
        int(next(each.value for each in tensor.external_data if each.key == "length"))
        for tensor in model.graph.initializer
        if tensor.name.endswith((".codes", ".scales"))
    ]
    assert sum(role.bytes for role in quantization.roles.values()) == sum(sizes)
    shown = in_process("inspect", engine)
    assert re.search(r"^  embedding +float32 ", shown.stdout, re.MULTILINE), shown.stdout


def options(recipe: str | Path) -> tuple[str | Path, ...]:
    return "--target", TARGET, "--quantize", recipe, "-q"


def test_offsets_are_refused_before_any_work(single_layer: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "offsets.toml"
    recipe.write_text('[roles]\nlm_head = "int4"\nmlp = "int4 block=64 asymmetric"\n')
    engine = tmp_path / "engine"
    result = in_process("export", single_layer, "-o", engine, *options(recipe), "--no-plan")
    expected = (
        f"role mlp is int4 block=64 asymmetric, and target {TARGET} dequantizes without offsets; "
        "choose formats that are not asymmetric"
    )
    assert expected in error_line(result)
    assert not engine.exists()


@pytest.mark.parametrize("target", ["portable", "ort-cpu"])
def test_fp8_is_for_tensorrt_alone(target: str, single_layer: Path, tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    given = ("--target", target, "--quantize", "fp8", "-q")
    assert error_line(in_process("export", single_layer, "-o", engine, *given)) == (
        f"error: --quantize fp8: role embedding is fp8, which target {target} cannot read; choose "
        "int8 or int4, or --target tensorrt or tensorrt-plain"
    )
    assert not engine.exists()


def test_plugins_read_no_fp8(single_layer: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "experts.toml"
    recipe.write_text('[roles]\nmlp = "fp8"\nexperts = "fp8"\nshared_expert = "int8"\n')
    given = ("--target", "tensorrt", "--quantize", recipe, "--no-plan", "-q")
    line = error_line(in_process("export", single_layer, "-o", tmp_path / "engine", *given))
    expected = "role experts is fp8, which the plugins of target tensorrt do not read; choose int8"
    assert expected in line


def test_a_tied_head_that_no_oracle_computes(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "checkpoint", seed=7, kind="dense", tie=True)
    engine = tmp_path / "engine"
    export_checkpoint(checkpoint, engine, target=TARGET, quantize="int4-all")
    result = in_process("verify", engine, "--against", checkpoint, "-q")
    assert "its head is quantized and the embedding it is tied to is not" in error_line(result)


@pytest.mark.parametrize("recipe", ["fp8", "int4-all"])
def test_the_oracle_of_verify_rounds_no_activations(recipe: str, tmp_path: Path) -> None:
    """It computes what the engine does, to float32's bounds."""
    checkpoint = save_checkpoint(tmp_path / "checkpoint", seed=7, kind="dense")
    found = logits_of(checkpoint, tmp_path / "engine", recipe)[: len(PROMPT)]
    formats = {
        role: format_
        for role, format_ in quantization_recipe(recipe).formats.items()
        if role != "embedding"
    }
    rounding = MatrixRounding(None, recipe, formats, dequantizes=True)
    with checked(checkpoint, dtype="auto", accept_fields=()) as opened:
        oracle = open_oracle("eager", opened, rounding)
    expected = oracle.run(PROMPT, new_tokens=1).logits
    errors = [relative_error(a, b) for a, b in zip(found, expected, strict=True)]
    assert max(errors) <= tolerance(Quantity.LOGITS), errors
