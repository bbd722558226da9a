"""Quantized engines that dequantize, against float engines of the dequantized weights."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from deltaport.exporter.export import export_checkpoint
from deltaport.exporter.export_plan import checked
from deltaport.graph_passes.quantize.quantization_recipe import quantization_recipe
from deltaport.graph_passes.quantize.quantize_rows import quantize_rows
from deltaport.numerics import Quantity, relative_error, tolerance
from deltaport.package import open_package
from deltaport.verify.matrix_rounding import MatrixRounding
from deltaport.verify.open_oracle import open_oracle
from deltaport.weight_format import FP8, WeightFormat
from tests.checkpoints import save_checkpoint
from tests.end_to_end.command import error_line, in_process
from tests.oracles import Array
from tests.oracles.fp8_weights import fp8_rounded
from tests.oracles.quantized_weights import unpacked
from tests.without_tensorrt import open_without_tensorrt

TARGET = "tensorrt-plain"
PROMPT = [3, 1, 4, 1, 5, 92, 65, 35, 89, 79, 32, 38, 46, 264, 33, 83, 27, 95, 0, 288]
TABLE, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def as_stored(weight: torch.Tensor, stored: WeightFormat) -> torch.Tensor:
    """A weight as quantizing leaves it, unpacked by the oracle."""
    rows, inputs = weight.shape[-2:]
    matrices = weight.float().reshape(-1, rows, inputs).numpy()
    if stored == FP8:
        rounded = torch.tensor(np.stack([*map(fp8_rounded, matrices)]))
        return rounded.float().reshape(weight.shape)
    parts = [unpacked(*quantize_rows(matrix, stored))[:rows, :inputs] for matrix in matrices]
    return torch.stack([torch.tensor(part) for part in parts]).float().reshape(weight.shape)


def dequantized(checkpoint: Path, folder: Path, recipe: str) -> Path:
    """The checkpoint with the weights that quantizing leaves, and a head of its own."""
    chosen = quantization_recipe(recipe)
    shutil.copytree(checkpoint, folder)
    tensors = load_file(checkpoint / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    if config["tie_word_embeddings"]:
        assert HEAD not in tensors
        config["tie_word_embeddings"] = False
        (folder / "config.json").write_text(json.dumps(config))
        tensors[HEAD] = tensors[TABLE].clone()
    changed = 0
    for name, weight in tensors.items():
        stored = chosen.format_of(name) if name != TABLE else None
        if stored is not None:
            tensors[name] = as_stored(weight, stored)
            changed += 1
    assert changed > len(tensors) // 3
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


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
