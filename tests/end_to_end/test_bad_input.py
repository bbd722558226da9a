"""Bad checkpoints, outputs and prompts: one clear line, exit status 2, nothing left behind."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.checkpoints import save_checkpoint
from tests.end_to_end.command import deltaport, error_line, listing
from tests.end_to_end.damage import (
    Change,
    put_a_folder_in_place_of,
    refused_by_inspect,
    rewrite,
)

WEIGHTS = "model.safetensors"


@pytest.fixture
def damaged(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint to damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "input" / "checkpoint"))


def refuse_export(checkpoint: Path, output: Path, *options: str) -> str:
    """The error of an export that must fail and leave everything as it was."""
    before = {path: path.lstat().st_mtime_ns for path in output.parent.iterdir()}
    line = error_line(deltaport("export", checkpoint, "-o", output, "--quiet", *options))
    assert {path: path.lstat().st_mtime_ns for path in output.parent.iterdir()} == before
    return line


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


def use_pickles_only(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def nan_in_config(folder: Path) -> None:
    change_config(folder, rms_norm_eps=float("nan"))


DAMAGES: dict[str, tuple[Change, str]] = {
    "truncated": (truncate, "truncated"),
    "absurd header length": (claim_a_huge_header, "header claims 1152921504606846976 bytes"),
    "overlapping offsets": (overlap, "overlaps"),
    "wrong shape": (change_a_shape, "has shape [255, 64], expected [256, 64]"),
    "missing tensor": (lose_a_tensor, "is missing"),
    "tensor left over": (add_a_tensor, "left over"),
    "folder for weights": (put_a_folder_in_place_of(WEIGHTS), "holds no weights"),
    "folder for config": (put_a_folder_in_place_of("config.json"), "not a regular file"),
    "unknown model type": (lambda f: change_config(f, model_type="llama"), '"llama"'),
    "unknown field": (lambda f: change_config(f, novelty=1), "--accept-config-field novelty"),
    "quantized": (lambda f: change_config(f, quantization_config={"bits": 4}), "unquantized"),
    "NaN in config": (nan_in_config, "NaN"),
    "config not JSON": (rewrite("config.json", "{'model_type': 'qwen3_5'}"), "JSON"),
    "config not an object": (rewrite("config.json", "[]"), "expected a JSON object"),
    "config cut short": (rewrite("config.json", '{"model_type": "qwen3_5_moe"'), "JSON"),
}


@pytest.mark.parametrize(("damage", "expected"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_checkpoints(damaged: Path, tmp_path: Path, damage: Change, expected: str) -> None:
    damage(damaged)
    line = refuse_export(damaged, tmp_path / "engine")
    assert expected in line
    assert str(damaged) in line
    assert refused_by_inspect(damaged) == line


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
    assert refused_by_inspect(folder) == line


def test_no_checkpoint(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere\n\x1b[31m"
    line = refuse_export(missing, tmp_path / "engine")
    assert "no such folder" in line
    assert "no such file or folder" in refused_by_inspect(missing)
    assert "neither a checkpoint nor an engine" in refused_by_inspect(tmp_path)
    assert "File name too long" in refused_by_inspect(tmp_path / ("a" * 300))


def test_paths_of_something_else(checkpoint: Path, altered: Path, tmp_path: Path) -> None:
    output = tmp_path / "engine"
    hub = Path("Qwen/Qwen3.5-0.8B")
    assert "hf download Qwen/Qwen3.5-0.8B" in refuse_export(hub, output)
    assert "hf download" in refused_by_inspect(hub)
    assert "run it with 'deltaport run'" in refuse_export(altered, output)
    for part in (checkpoint / WEIGHTS, altered / "decoder.onnx"):
        assert f"folder, {part.parent}" in refused_by_inspect(part)
        assert f"folder, {part.parent}" in refuse_export(part, output)


def test_a_gpu_that_our_plugins_do_not_run_on(checkpoint: Path, tmp_path: Path) -> None:
    options = ("--target", "tensorrt", "--gpu", "sm75", "--plugins", "any.so")
    line = refuse_export(checkpoint, tmp_path / "engine", *options)
    assert "--gpu sm75: our plugins run on sm80 and newer; choose --target tensorrt-plain" in line


def test_an_unknown_target(checkpoint: Path, tmp_path: Path) -> None:
    line = refuse_export(checkpoint, tmp_path / "engine", "--target", "abacus")
    assert "'abacus' is not" in line
    assert "portable" in line


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
        assert "which the export reads" in refuse_export(damaged, damaged, "--overwrite")

    def test_an_engine_with_something_else_in_it(self, single_layer: Path, altered: Path) -> None:
        (altered / "notes.txt").write_text("dear to somebody")
        before = listing(altered)
        assert "holds 'notes.txt'" in refuse_export(single_layer, altered, "--overwrite")
        assert listing(altered) == before

    def test_a_link_to_nothing_in_the_checkpoint(self, damaged: Path, tmp_path: Path) -> None:
        (damaged / "tokenizer.json").unlink(missing_ok=True)
        (damaged / "tokenizer.json").symlink_to("../blobs/0")
        assert "'../blobs/0', which is not there" in refuse_export(damaged, tmp_path / "engine")

    @pytest.mark.parametrize("below", [".", "engine"])
    def test_a_file_in_the_way(self, single_layer: Path, tmp_path: Path, below: str) -> None:
        (tmp_path / "file").write_text("dear to somebody")
        output = tmp_path / "file" / below
        line = error_line(deltaport("export", single_layer, "-o", output, "-q", "--overwrite"))
        assert "file: exists and is not a folder" in line
        assert listing(tmp_path) == {"file": b"dear to somebody"}

    def test_a_name_no_file_system_takes(self, single_layer: Path, tmp_path: Path) -> None:
        assert "File name too long" in refuse_export(single_layer, tmp_path / ("a" * 300))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-p", ""], "the prompt is empty"),
        (["--ids", ""], "is not a token id"),
        (["--ids", "1,,2"], "is not a token id"),
        (["--ids", "1;2"], "is not a token id"),
        (["--ids", "-1"], "is not a token id"),
        (["--ids", "9" * 5000], "is not a token id"),
        (["--ids", "1,300"], "--ids: 300 is not a token id of this engine; expected 0 to 299"),
        (["--ids", "1", "--context", "4097"], "1 to 4096"),
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
