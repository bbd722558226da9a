"""``export --dry-run``: says what the engine would be, and touches nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deltaport.exporter.tensorrt import build_process
from tests.end_to_end.command import deltaport, error_line, in_process, listing


def facts(*arguments: str | Path) -> dict[str, Any]:
    result = deltaport(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def without(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in keys}


def test_figures_are_those_of_the_engine(checkpoint: Path, engine: Path) -> None:
    planned = facts("export", checkpoint, "--dry-run", "-q")
    real = facts("inspect", engine)
    assert planned["kind"] == "engine (dry run)"
    assert planned["path"] == str(checkpoint)
    assert planned["seconds"] > 0
    for document in (planned, real):
        del document["memory"]["available"]  # changes from one moment to the next
    own = ("kind", "path", "notes", "engine", "seconds", "passes", "nodes")
    assert without(planned, *own) == without(real, *own)

    sizes = ("files", "bytes")
    assert without(planned["engine"], *sizes) == without(real["engine"], *sizes)
    files = {row["path"]: row["bytes"] for row in real["engine"]["files"]}
    assert {row["path"]: row["bytes"] for row in planned["engine"]["files"]} == without(
        files, "decoder.onnx"
    )
    assert planned["engine"]["bytes"] == sum(files.values()) - files["decoder.onnx"]


def test_narrow_storage(single_layer: Path, tmp_path: Path) -> None:
    narrow = ["--dtype", "bfloat16"]
    planned = facts("export", single_layer, "--dry-run", "-q", *narrow)
    deltaport("export", single_layer, "-o", tmp_path / "engine", "-q", *narrow)
    real = facts("inspect", tmp_path / "engine")
    assert planned["roles"] == real["roles"]
    assert {row["dtype"] for row in real["roles"]} == {"float32", "bfloat16"}
    sizes = [
        row["bytes"]
        for document in (planned, real)
        for row in document["engine"]["files"]
        if row["path"] == "decoder.onnx.data"
    ]
    assert sizes[0] == sizes[1] == (tmp_path / "engine" / "decoder.onnx.data").stat().st_size
    assert "sizes are without decoder.onnx and manifest.json" in planned["notes"]


@pytest.mark.parametrize("output", [None, "engine", "new/folder/engine"])
def test_nothing_is_written(single_layer: Path, tmp_path: Path, output: str | None) -> None:
    checkpoint = Path(shutil.copytree(single_layer, tmp_path / "checkpoint"))
    there = tmp_path / "there"
    there.mkdir()
    before = {path: path.stat().st_mtime_ns for path in (checkpoint, there, tmp_path)}
    contents = listing(tmp_path)
    where = [] if output is None else ["-o", there / output]
    result = deltaport("export", checkpoint, "--dry-run", *where, cwd=there)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{where[1] if where else checkpoint}: engine (dry run)\n")
    assert "graph: " in result.stdout
    assert "memory for 1 sequence" in result.stdout
    stages = [line.partition(" (")[0] for line in result.stderr.splitlines()]
    assert stages == ["reading the checkpoint", "tracing the model", "running passes"]
    assert listing(tmp_path) == contents
    assert os.listdir(there) == []  # noqa: PTH208 - hidden ones, too
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_is_wrong_with_the_checkpoint_is_said(single_layer: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(single_layer, tmp_path / "checkpoint"))
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "truncated" in error_line(deltaport("export", damaged, "--dry-run", "-q"))


def test_what_is_wrong_with_the_output_is_said(
    single_layer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = error_line(deltaport("export", single_layer, "-o", single_layer, "--dry-run", "-q"))
    assert "which the export reads" in line
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage)
    output = tmp_path / "not" / "there"
    line = error_line(in_process("export", single_layer, "-o", output, "--dry-run", "-q"))
    assert line.startswith(f"error: {output}: the engine needs 0.00 GB, the disk has 0.00 GB free")
    assert asked == [tmp_path], "the disk the engine will be on"


def test_a_plan_is_counted(
    single_layer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights and its code, in the space it takes; its slots and caches, in the memory."""
    monkeypatch.setattr(build_process, "check_apart", lambda *_, **__: "TensorRT-RTX 1.7")
    options = ("--target", "tensorrt-plain", "--gpu", "sm89", "--slots", "3", "--context", "1000")

    def planned(free: int) -> subprocess.CompletedProcess[str]:
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        output = tmp_path / "engine"
        return in_process(
            "export", single_layer, "-o", output, "--dry-run", "-q", "--json", *options
        )

    assert "the engine needs 0.11 GB, the disk has 0.05 GB free" in error_line(planned(50 << 20))
    found = json.loads(planned(200 << 20).stdout)
    assert "sizes are without decoder.onnx, manifest.json and the plan" in found["notes"]
    memory = found["memory"]
    assert (memory["sequences"], memory["context"], memory["reserved"]) == (3, 1000, True)


def test_what_is_there_already_counts(single_layer: Path, engine: Path, tmp_path: Path) -> None:
    def planned(output: Path, *options: str) -> subprocess.CompletedProcess[str]:
        return in_process("export", single_layer, "-o", output, "--dry-run", "-q", *options)

    there = Path(shutil.copytree(engine, tmp_path / "engine"))
    before = listing(tmp_path)
    line = error_line(planned(there))
    assert line == f"error: {there}: already exists; choose another output or pass --overwrite"
    assert planned(there, "--overwrite").returncode == 0
    assert listing(tmp_path) == before
    (there / "notes.txt").touch()
    line = error_line(planned(there, "--overwrite"))
    assert "holds 'notes.txt', which is no part of the engine, so it is not overwritten" in line
    assert "is not a folder" in error_line(planned(there / "notes.txt", "--overwrite"))


def test_without_it_an_output_is_required(single_layer: Path) -> None:
    line = error_line(deltaport("export", single_layer, "-q"))
    assert line == (
        "error: Missing option '-o' / '--output'; for help, run 'deltaport export --help'"
    )
