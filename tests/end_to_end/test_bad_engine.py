"""Engine folders with files missing, altered or hostile: one clear line and exit status 2."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.command import deltaport, error_line
from tests.end_to_end.damage import (
    Change,
    put_a_folder_in_place_of,
    refused_by_inspect,
    rewrite,
)


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


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"!")


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
    "graph longer": (lambda e: append(e / "decoder.onnx"), "the manifest says"),
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
    "manifest not JSON": (rewrite("manifest.json", "not JSON"), "manifest.json"),
    "manifest with NaN": (rewrite("manifest.json", '{"schema_version": NaN}'), "manifest.json"),
    "manifest not an object": (rewrite("manifest.json", "7"), "manifest.json"),
    "manifest empty": (rewrite("manifest.json", ""), "manifest.json"),
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
    change_manifest(altered, model={"model_type": "qwen3_5_moe\x1b[31m\n"})
    assert "manifest.json" in refused_by_inspect(altered)
    (altered / "decoder.onnx").unlink()
    assert "decoder.onnx: missing" in refused_by_inspect(altered)
