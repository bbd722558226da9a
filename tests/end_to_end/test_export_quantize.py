"""``deltaport export --quantize``: what it stores, tells, measures and refuses."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.torch import load_file, save_file

from deltaport.errors import EngineError
from deltaport.package import open_package
from tests.checkpoints import CORPUS
from tests.end_to_end.command import deltaport, error_line, in_process


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(" ".join(CORPUS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def measured(checkpoint: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine of 4 and 8 bits, of which it is known what that cost; not to be written to."""
    engine = tmp_path_factory.mktemp("quantized") / "engine"
    options = ("--target", "ort-cpu", "--quantize", "int4", "--text", text)
    result = deltaport("export", checkpoint, "-o", engine, *options)
    assert result.returncode == 0, result.stderr
    for expected in (
        r"  stored as +int4 and float32, for ort-cpu engines\n",
        r"^quantized by int4: weights, bits each, size\n",
        r"  experts +int4 block=32 +[\d.]+k +\d\.\d\d +[\d.]+ kB\n",
        r"  linear_attn.in_proj +int8 block=32 ",
        r"^what that costs, on \d+ tokens of text\n",
        r"  perplexity +[\d.]+, [\d.]+ without: [+-][\d.]+ %\n",
        r"  same token most likely +[\d.]+ %\n",
    ):
        assert re.search(expected, result.stdout, re.MULTILINE), (expected, result.stdout)
    assert "without quantization, to compare: tracing the model" in result.stderr
    assert [path.name for path in engine.parent.iterdir()] == ["engine"]
    return engine


def test_the_manifest_tells_what_is_stored(measured: Path) -> None:
    quantization = open_package(measured).quantization
    assert quantization is not None
    assert quantization.recipe == "int4"
    model = onnx.load(str(measured / "decoder.onnx"), load_external_data=False)
    sizes = {
        tensor.name: int(next(e.value for e in tensor.external_data if e.key == "length"))
        for tensor in model.graph.initializer
        if tensor.name.endswith((".codes", ".scales"))
    }
    assert sum(role.bytes for role in quantization.roles.values()) == sum(sizes.values())
    experts = sum(size for name, size in sizes.items() if ".mlp.experts." in name)
    assert quantization.roles["experts"].bytes == experts
    assert quantization.roles["experts"].parameters == 4 * 8 * 64 * 96
    assert set(quantization.roles) == {
        "embedding", "lm_head", "linear_attn.in_proj", "linear_attn.out_proj",
        "self_attn.qkv_proj", "self_attn.o_proj", "experts", "shared_expert",
    }  # fmt: skip


def test_the_loss_is_what_eval_says(
    measured: Path, checkpoint: Path, text: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    assert in_process("export", checkpoint, "-o", plain, "--target", "ort-cpu").returncode == 0
    given = ("--text", text, "--against", plain, "--json", "-q")
    found = json.loads(in_process("eval", measured, *given).stdout)
    loss = json.loads((measured / "manifest.json").read_text())["quantization"]["loss"]
    assert loss["tokens"] == found["text"]["tokens"]
    assert loss["perplexity"] == pytest.approx(found["score"]["perplexity"]["mean"])
    assert loss["reference_perplexity"] == pytest.approx(found["reference"]["perplexity"]["mean"])
    assert loss["kl"] == pytest.approx(found["comparison"]["kl_nats"]["mean"])
    assert loss["top1"] == found["comparison"]["top1_agreement"]


def facts(*arguments: str | Path) -> dict[str, Any]:
    result = in_process(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_inspect_and_a_dry_run_say_the_same(measured: Path, checkpoint: Path) -> None:
    options = ("--target", "ort-cpu", "--quantize", "int4")
    planned, real = facts("export", checkpoint, "--dry-run", *options), facts("inspect", measured)
    assert planned["roles"] == real["roles"]
    assert {row["dtype"] for row in real["roles"]} == {"float32", "int4 block=32", "int8 block=32"}
    for what in ("weights", "widened", "total"):
        assert planned["memory"][what] == real["memory"][what]
    assert not real["memory"]["widened"]
    stored = planned["engine"]["quantization"] | {"loss": None}
    assert real["engine"]["quantization"] | {"loss": None} == stored
    shown = in_process("inspect", measured).stdout
    assert "what that costs" in shown
    assert re.search(r"  weights, as they are stored +", shown)
    role_bytes = {row["role"]: row["bytes"] for row in real["roles"]}
    for role, row in real["engine"]["quantization"]["roles"].items():
        assert role_bytes[role] == row["bytes"]


def test_bench_reads_weights_as_they_are_stored(measured: Path) -> None:
    options = ("--prompt-tokens", "8", "--new-tokens", "4", "--repeat", "1", "-q")
    traffic = facts("bench", measured, *options)["bytes_read_per_token"]
    size = (measured / "decoder.onnx.data").stat().st_size
    assert 0 < traffic["weights"] < size


def test_a_recipe_of_ones_own(single_layer: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "only, {mine}.toml"
    recipe.write_text('[roles]\nmlp = "int4 block=64 asymmetric"\n')
    engine = tmp_path / "engine"
    made = in_process("export", single_layer, "-o", engine, "--quantize", recipe, "-q")
    assert made.returncode == 0, made.stderr
    quantization = open_package(engine).quantization
    assert quantization is not None
    assert quantization.recipe == "only, {mine}"
    [(role, stored)] = quantization.roles.items()
    assert (role, str(stored.format)) == ("mlp", "int4 block=64 asymmetric")
    run = in_process("run", engine, "--ids", "1,2,3", "-n", "2", "-q")
    assert run.returncode == 0, run.stderr


def test_the_same_bytes_every_time(single_layer: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        made = in_process("export", single_layer, "-o", tmp_path / name, "--quantize", "int4")
        assert made.returncode == 0, made.stderr
    files = [tmp_path / name / "decoder.onnx.data" for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert np.any(np.frombuffer(files[0].read_bytes(), np.uint8))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            ("--quantize", "int5"),
            "of that name; choose one of fp8, int4, int4-all, int8",
        ),
        (
            ("--quantize", "int4", "--target", "ort-cuda"),
            "--quantize: target ort-cuda runs no quantized weights; choose one of portable, ort",
        ),
        (("--quantize", "int4", "--passes", ""), "--quantize and --passes: give one of them"),
        (("--quantize", "int4", "--text", "absent"), "absent: cannot be read"),
        (("--quantize", "int4", "--text", __file__), "has no tokenizer.json to read text with"),
    ],
)
def test_refusals(
    single_layer: Path, tmp_path: Path, options: tuple[str, ...], problem: str
) -> None:
    result = in_process("export", single_layer, "-o", tmp_path / "engine", *options)
    assert problem in error_line(result)
    assert not (tmp_path / "engine").exists()


def test_a_text_too_short(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("")
    options = ("--quantize", "int4", "--text", tmp_path / "text")
    result = in_process("export", checkpoint, "-o", tmp_path / "engine", *options)
    assert "0 of the at least 2 tokens" in error_line(result)


def test_a_text_without_quantization_measures_nothing(single_layer: Path, tmp_path: Path) -> None:
    result = in_process("export", single_layer, "-o", tmp_path / "engine", "--text", __file__)
    assert result.returncode == 2
    assert "--text measures what --quantize costs" in result.stderr


@pytest.mark.parametrize(
    ("roles", "problem"),
    [
        ({"router": "int8"}, None),
        ({"linear_attn.in_proj_ba": "int8"}, None),
        ({"mlp": "int4"}, "quantizes nothing of this model, which has embedding, linear_attn"),
        ({"experts": "int4"}, "gives one of experts and shared_expert a format; they are comp"),
        ({"shared_expert": "int8", "lm_head": "int4"}, "so give both one, or neither"),
        ({"shared_expert_gate": "int8"}, "role 'shared_expert_gate' is unknown; there are emb"),
    ],
)
def test_recipes_for_a_mixture(
    checkpoint: Path, tmp_path: Path, roles: dict[str, str], problem: str | None
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[roles]\n" + "".join(f'"{r}" = "{f}"\n' for r, f in roles.items()))
    result = in_process("export", checkpoint, "--dry-run", "--quantize", recipe, "-q")
    if problem is None:
        assert result.returncode == 0, result.stderr
    else:
        assert problem in error_line(result)


def test_an_engine_whose_loss_cannot_be_measured_is_kept(
    checkpoint: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise EngineError("the text is cursed")

    monkeypatch.setattr("deltaport.exporter.quantization_loss.evaluate", fail)
    engine = tmp_path / "engine"
    result = in_process(
        "export", checkpoint, "-o", engine, "--quantize", "int4", "--text", text, "-q"
    )
    line = error_line(result)
    assert (
        f"{engine}: the engine is complete, but what quantizing costs it was not measured" in line
    )
    assert "the text is cursed" in line
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]
    assert open_package(engine).quantization is not None
    assert not list(engine.glob(".*"))


def test_a_tokenizer_of_another_model(checkpoint: Path, text: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    word = next(word for word, id_ in tokenizer["model"]["vocab"].items() if id_ == 70)
    tokenizer["model"]["vocab"] = {
        name: 5000 if name == word else id_ for name, id_ in tokenizer["model"]["vocab"].items()
    }
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    text = tmp_path / "text"
    text.write_text(f"{word}{word} a")
    options = ("--quantize", "int4", "--text", text, "-q")
    line = error_line(in_process("export", other, "-o", tmp_path / "engine", *options))
    assert "tokenizer.json: gives token 5000, expected 0 to 299" in line


@pytest.mark.parametrize(
    ("value", "refused"), [(float("nan"), True), (float("-inf"), True), (1e30, False)]
)
def test_weights_of_any_magnitude_but_no_others(
    single_layer: Path, tmp_path: Path, value: float, refused: bool
) -> None:
    checkpoint = Path(shutil.copytree(single_layer, tmp_path / "checkpoint"))
    weights = load_file(checkpoint / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    weights[name][5, 7] = value
    save_file({k: v.bfloat16() for k, v in weights.items()}, checkpoint / "model.safetensors")
    engine = tmp_path / "engine"
    result = in_process("export", checkpoint, "-o", engine, "--quantize", "int4", "-q")
    assert engine.exists() != refused
    assert list(tmp_path.glob(".*")) == []
    if refused:
        line = error_line(result)
        assert name in line
        assert "which int4 block=32 has no code for" in line
    else:  # beyond what float16 holds
        assert result.returncode == 0, result.stderr
