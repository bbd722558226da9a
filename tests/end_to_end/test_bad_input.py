"""Whatever is wrong with the input: one clear line, the right exit status, nothing left behind."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from deltaport.cli import main
from tests.checkpoints import save_checkpoint
from tests.end_to_end.command import deltaport, error_line, listing

WEIGHTS = "model.safetensors"
Change = Callable[[Path], None]


@pytest.fixture
def damaged(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint to damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "input" / "checkpoint"))


@pytest.fixture
def altered(engine: Path, tmp_path: Path) -> Path:
    """A copy of the engine to alter."""
    return Path(shutil.copytree(engine, tmp_path / "input" / "engine"))


def refuse_export(checkpoint: Path, output: Path, *options: str) -> str:
    """The error of an export that must fail and leave everything as it was."""
    before = {path: path.lstat().st_mtime_ns for path in output.parent.iterdir()}
    line = error_line(deltaport("export", checkpoint, "-o", output, "--quiet", *options))
    assert {path: path.lstat().st_mtime_ns for path in output.parent.iterdir()} == before
    return line


def inspect_in_process(path: Path) -> str:
    result = CliRunner().invoke(main, ["inspect", str(path)])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    return result.stderr.removesuffix("\n")


def change_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def change_header(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the JSON header of the only weight file; offsets are relative, so data stay."""
    path = folder / WEIGHTS
    data = path.read_bytes()
    [length] = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def truncate(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1000])


def claim_a_huge_header(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])


def overlap(folder: Path) -> None:
    def change(header: dict[str, Any]) -> None:
        size = 2 * 4
        tensors = sorted(
            (entry for name, entry in header.items() if name != "__metadata__"),
            key=lambda entry: entry["data_offsets"],
        )
        tensors[1]["data_offsets"] = [offset - size for offset in tensors[1]["data_offsets"]]

    change_header(folder, change)


def change_a_shape(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    name = next(name for name in tensors if name.endswith("q_proj.weight"))
    tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, folder / WEIGHTS)


def lose_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors[next(name for name in tensors if name.endswith("o_proj.weight"))]
    save_file(tensors, folder / WEIGHTS)


def add_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["model.extra\nline"] = tensors["lm_head.weight"].clone()
    save_file(tensors, folder / WEIGHTS)


def put_a_folder_in_place_of(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def use_pickles_only(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def write_config(text: str) -> Change:
    return lambda folder: void((folder / "config.json").write_text(text))


def void(_: object) -> None:
    """Discard a result, for functions that are called for their effect."""


def nan_in_config(folder: Path) -> None:
    change_config(folder, rms_norm_eps=float("nan"))


DAMAGES: dict[str, tuple[Change, str]] = {
    "truncated": (truncate, "truncated"),
    "absurd header length": (claim_a_huge_header, "header claims 1152921504606846976 bytes"),
    "overlapping offsets": (overlap, "overlaps"),
    "wrong shape": (change_a_shape, "has shape [255, 64], expected [256, 64]"),
    "missing tensor": (lose_a_tensor, "is missing"),
    "tensor left over": (add_a_tensor, "left over"),
    "folder for weights": (put_a_folder_in_place_of(WEIGHTS), "not a regular file"),
    "folder for config": (put_a_folder_in_place_of("config.json"), "not a regular file"),
    "unknown model type": (lambda f: change_config(f, model_type="llama"), '"llama"'),
    "unknown field": (lambda f: change_config(f, novelty=1), "--accept-config-field novelty"),
    "quantized": (lambda f: change_config(f, quantization_config={"bits": 4}), "unquantized"),
    "NaN in config": (nan_in_config, "NaN"),
    "config not JSON": (write_config("{'model_type': 'qwen3_5'}"), "JSON"),
    "config not an object": (write_config("[]"), "expected a JSON object"),
    "config cut short": (write_config('{"model_type": "qwen3_5_moe"'), "JSON"),
}


@pytest.mark.parametrize(("damage", "expected"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_checkpoints(damaged: Path, tmp_path: Path, damage: Change, expected: str) -> None:
    damage(damaged)
    line = refuse_export(damaged, tmp_path / "engine")
    assert expected in line
    assert str(damaged) in line
    assert inspect_in_process(damaged) == line


def test_pickles_are_not_loaded(damaged: Path, tmp_path: Path) -> None:
    use_pickles_only(damaged)
    assert "'pytorch_model.bin'" in refuse_export(damaged, tmp_path / "engine")


def test_a_missing_shard(tmp_path: Path) -> None:
    folder = save_checkpoint(
        tmp_path / "in" / "checkpoint", kind="dense", num_hidden_layers=1, max_shard_size="50KB"
    )
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2
    shards[1].unlink()
    line = refuse_export(folder, tmp_path / "engine")
    assert f"shard {shards[1].name} is missing" in line
    assert inspect_in_process(folder) == line


def test_no_checkpoint(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere\n\x1b[31m"
    line = refuse_export(missing, tmp_path / "engine")
    assert "no such file" in line
    assert inspect_in_process(missing) == line
    assert "neither a checkpoint nor an engine" in inspect_in_process(tmp_path)
    assert "File name too long" in inspect_in_process(tmp_path / ("a" * 300))


def test_an_unknown_target(checkpoint: Path, tmp_path: Path) -> None:
    line = refuse_export(checkpoint, tmp_path / "engine", "--target", "abacus")
    assert "abacus: unknown target; choose one of portable" in line


class TestOutput:
    def test_an_engine_is_there_already(self, single_layer: Path, altered: Path) -> None:
        before = listing(altered)
        assert "pass --overwrite" in refuse_export(single_layer, altered)
        assert listing(altered) == before

    def test_a_folder_of_something_else(self, single_layer: Path, tmp_path: Path) -> None:
        output = tmp_path / "thesis"
        output.mkdir()
        (output / "chapter1.txt").write_text("dear to somebody")
        assert "pass --overwrite" in refuse_export(single_layer, output)
        assert "not an engine" in refuse_export(single_layer, output, "--overwrite")
        assert listing(output) == {"chapter1.txt": b"dear to somebody"}

    def test_a_checkpoint_is_not_overwritten_either(self, damaged: Path) -> None:
        assert "not an engine" in refuse_export(damaged, damaged, "--overwrite")

    @pytest.mark.parametrize("below", [".", "engine"])
    def test_a_file_in_the_way(self, single_layer: Path, tmp_path: Path, below: str) -> None:
        (tmp_path / "file").write_text("dear to somebody")
        output = tmp_path / "file" / below
        line = error_line(deltaport("export", single_layer, "-o", output, "-q", "--overwrite"))
        assert "file: exists and is not a folder" in line
        assert listing(tmp_path) == {"file": b"dear to somebody"}

    def test_a_name_no_file_system_takes(self, single_layer: Path, tmp_path: Path) -> None:
        assert "File name too long" in refuse_export(single_layer, tmp_path / ("a" * 300))


def change_manifest(engine: Path, **fields: Any) -> None:
    path = engine / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def change_file_row(engine: Path, name: str, **fields: Any) -> None:
    files = json.loads((engine / "manifest.json").read_text())["files"]
    changed = [row | fields if row["path"] == name else row for row in files]
    change_manifest(engine, files=changed)


def replace_decoder(engine: Path, data: bytes) -> None:
    """Put something else in place of the graph, with a manifest that vouches for it."""
    (engine / "decoder.onnx").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    change_file_row(engine, "decoder.onnx", size=len(data), sha256=digest)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def rewrite_manifest(text: str) -> Change:
    return lambda engine: void((engine / "manifest.json").write_text(text))


def half_a_decoder(engine: Path) -> None:
    data = (engine / "decoder.onnx").read_bytes()
    replace_decoder(engine, data[: len(data) // 2])


def refer_to(path: str) -> Change:
    return lambda engine: change_file_row(engine, "decoder.onnx.data", path=path)


ALTERATIONS: dict[str, tuple[Change, str]] = {
    "weights missing": (lambda e: (e / "decoder.onnx.data").unlink(), "decoder.onnx.data: missing"),
    "graph missing": (lambda e: (e / "decoder.onnx").unlink(), "decoder.onnx: missing"),
    "manifest missing": (lambda e: (e / "manifest.json").unlink(), "has no manifest.json"),
    "tokenizer missing": (lambda e: (e / "tokenizer.json").unlink(), "tokenizer.json: missing"),
    "weights altered": (lambda e: flip_a_bit(e / "decoder.onnx.data"), "checksum differs"),
    "graph altered": (lambda e: flip_a_bit(e / "decoder.onnx"), "checksum differs"),
    "graph longer": (
        lambda e: void((e / "decoder.onnx").open("ab").write(b"!")),
        "the manifest says",
    ),
    "folder for a file": (put_a_folder_in_place_of("decoder.onnx"), "decoder.onnx: "),
    "garbage graph, vouched for": (
        lambda e: replace_decoder(e, bytes(range(256)) * 9),
        "decoder.onnx: onnxruntime refuses it",
    ),
    "half a graph, vouched for": (half_a_decoder, "decoder.onnx: onnxruntime refuses it"),
    "empty graph, vouched for": (lambda e: replace_decoder(e, b""), "decoder.onnx: "),
    "path above": (refer_to("../decoder.onnx.data"), "leaves the engine folder"),
    "path above, hidden": (refer_to("a/../../decoder.onnx.data"), "leaves the engine folder"),
    "absolute path": (refer_to("/etc/passwd"), "leaves the engine folder"),
    "newer schema": (lambda e: change_manifest(e, schema_version=99), "upgrade deltaport"),
    "newer ops": (lambda e: change_manifest(e, op_library_version=99), "upgrade deltaport"),
    "unknown manifest field": (lambda e: change_manifest(e, novelty=1), "unknown field"),
    "another vocabulary": (lambda e: change_manifest(e, vocab_size=301), "logits"),
    "no state": (lambda e: change_manifest(e, state=[]), "only in the graph"),
    "manifest not JSON": (rewrite_manifest("not JSON"), "manifest.json"),
    "manifest with NaN": (rewrite_manifest('{"schema_version": NaN}'), "manifest.json"),
    "manifest not an object": (rewrite_manifest("7"), "manifest.json"),
    "manifest empty": (rewrite_manifest(""), "manifest.json"),
}


@pytest.mark.parametrize(("alter", "expected"), ALTERATIONS.values(), ids=ALTERATIONS)
def test_altered_engines(altered: Path, alter: Change, expected: str) -> None:
    alter(altered)
    line = error_line(deltaport("run", altered, "-p", "a", "-n", "1", "--quiet"))
    assert expected in line
    assert str(altered) in line


def test_inspect_refuses_what_it_can_see(altered: Path) -> None:
    flip_a_bit(altered / "decoder.onnx")
    assert deltaport("inspect", altered).returncode == 0, "contents are for run to check"
    (altered / "decoder.onnx").unlink()
    assert "decoder.onnx: missing" in inspect_in_process(altered)
    change_manifest(altered, model={"model_type": "qwen3_5_moe\x1b[31m\n"})
    assert "manifest.json" in inspect_in_process(altered)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-p", ""], "the prompt is empty"),
        (["--ids", ""], "is not a token id"),
        (["--ids", "1,,2"], "is not a token id"),
        (["--ids", "1;2"], "is not a token id"),
        (["--ids", "-1"], "is not a token id"),
        (["--ids", "9" * 5000], "is not a token id"),
        (["--ids", "300"], "300 is not a token id"),
        (["--ids", "1", "--context", "4097"], "expected 1 to 4096"),
        (["--ids", "1,2", "-n", "2", "--context", "2"], "pass a lower --max-new-tokens"),
        (["-p", "a \udcff"], "not UTF-8"),
    ],
)
def test_prompts_and_options_out_of_range(
    engine: Path, arguments: list[str], expected: str
) -> None:
    assert expected in error_line(deltaport("run", engine, "-q", *arguments))


def test_a_prompt_from_stdin_that_is_not_text(engine: Path) -> None:
    result = deltaport("run", engine, "-p", "-", "-q", input="a\xff", encoding="latin-1")
    assert "standard input: not UTF-8 at byte 1" in error_line(result)


def test_a_prompt_that_gives_no_tokens(engine: Path) -> None:
    assert "the prompt is empty" in error_line(deltaport("run", engine, "-p", "-", "-q", input=""))
