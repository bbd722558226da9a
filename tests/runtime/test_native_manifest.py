"""The native reader of manifests against the Python one."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from deltaport.errors import EngineError
from deltaport.package import MANIFEST_NAME, Plan, open_package
from deltaport.package.file_digest import PIECE_BYTES, file_digest
from deltaport.runtime import _native
from tests.fuzz.mutations import mutate_bytes, mutate_json
from tests.runtime.toy_engine import write_toy


def exactly(value: Any) -> str:
    """Tells 1 from 1.0 and True, and -0.0 from 0.0; not one order of keys from another."""
    return json.dumps(value, sort_keys=True)


def as_python_reads(folder: Path, *, checksums: bool) -> dict[str, Any]:
    """What the native reader must say of the folder."""
    manifest = open_package(folder, checksums=checksums)
    state = manifest.state.to_json()
    for row in state:
        del row["layer"]
    return {
        "target": manifest.target,
        "ragged": manifest.ragged,
        "decoder": manifest.decoder,
        "vocab_size": manifest.vocab_size,
        "max_positions": manifest.max_positions,
        "eos_token_ids": list(manifest.eos_token_ids),
        "op_library_version": manifest.op_library_version,
        "state": state,
        "plan": None if manifest.plan is None else manifest.plan.to_json(),
        "identity": hashlib.sha256((folder / MANIFEST_NAME).read_bytes()).hexdigest(),
    }


PLAN = Plan("decoder.onnx", "TensorRT 11.4.0", "sm89", slots=3, prefill_tokens=64, capacity=1216)
"""That its file is none of TensorRT's, a reader does not know."""


@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize("plan", [None, PLAN])
def test_opens_an_engine(tmp_path: Path, checksums: bool, plan: Plan | None) -> None:
    folder = write_toy(tmp_path / "toy", plan=plan)
    expected = as_python_reads(folder, checksums=checksums)
    assert exactly(_native.open_manifest(str(folder), checksums)) == exactly(expected)


def test_what_is_said_of_quantized_weights_is_not_for_a_runtime(tmp_path: Path) -> None:
    """It may be there; only that it is an object is looked at."""
    folder = write_toy(tmp_path / "toy")
    role = {"format": "int4 block=32", "parameters": 8, "bytes": 4, "bits_per_weight": 4.0}
    quantization = {"recipe": "mine", "bits_per_weight": 4.0, "roles": {"mlp": role}, "loss": None}
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization": quantization}))
    assert exactly(_native.open_manifest(str(folder), True)) == exactly(
        as_python_reads(folder, checksums=True)
    )
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization": {}}))
    assert _native.open_manifest(str(folder), True)["vocab_size"] == 24
    with pytest.raises(EngineError, match="quantization: expected the fields recipe"):
        open_package(folder)


@pytest.mark.parametrize("size", [2 * PIECE_BYTES - 1, 2 * PIECE_BYTES, 2 * PIECE_BYTES + 1])
def test_a_file_of_many_pieces_has_the_checksum_that_python_finds(
    tmp_path: Path, size: int
) -> None:
    folder = write_toy(tmp_path / "toy")
    large = folder / "large"
    large.write_bytes(Random(size).randbytes(size))
    path = folder / MANIFEST_NAME
    document = json.loads(path.read_text())
    document["files"].append({"path": "large", "size": size, "sha256": file_digest(large)})
    path.write_text(json.dumps(document))
    _native.open_manifest(str(folder), True)
    with large.open("r+b") as file:  # the last byte of the first piece
        file.seek(PIECE_BYTES - 1)
        byte = file.read(1)
        file.seek(PIECE_BYTES - 1)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(EngineError, match="large: checksum differs"):
        _native.open_manifest(str(folder), True)


def append(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


def move_out(path: Path) -> None:
    path.symlink_to(path.rename(path.parent.parent / "outside"))


def move_within(path: Path) -> None:
    path.symlink_to(path.rename(path.parent / "elsewhere").name)


def replace_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "longer": lambda path: append(path, b"x"),
    "altered": lambda path: path.write_bytes(b"x" * path.stat().st_size),
    "empty": lambda path: path.write_bytes(b""),
    "directory": replace_by(Path.mkdir),
    "pipe": replace_by(os.mkfifo),
    "link to itself": replace_by(lambda path: path.symlink_to(path)),
    "link to nothing": replace_by(lambda path: path.symlink_to(path.with_name("nothing"))),
    "larger than any": lambda path: os.truncate(path, (64 << 20) + 1),
}


@pytest.mark.parametrize("name", ["decoder.onnx", MANIFEST_NAME])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_complains_of_files_as_python_does(
    tmp_path: Path, name: str, damage: Callable[[Path], object]
) -> None:
    folder = write_toy(tmp_path / "toy")
    damage(folder / name)
    with pytest.raises(EngineError) as python:
        open_package(folder)
    with pytest.raises(EngineError) as native:
        _native.open_manifest(str(folder), True)
    assert str(native.value) == str(python.value)


def test_follows_links_that_stay_inside_only(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "toy")
    expected = as_python_reads(folder, checksums=True)
    move_within(folder / "decoder.onnx")
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    assert _native.open_manifest(f"{linked}/", True) == expected
    folder = write_toy(tmp_path / "other")
    move_out(folder / "decoder.onnx")
    with pytest.raises(EngineError, match=r"decoder\.onnx: a link that leaves the engine folder"):
        _native.open_manifest(str(folder), True)


@pytest.mark.parametrize("folder", ["", "absent", "toy/manifest.json"])
def test_there_must_be_a_folder(tmp_path: Path, folder: str) -> None:
    write_toy(tmp_path / "toy")
    path = tmp_path / folder
    with pytest.raises(EngineError) as python:
        open_package(path)
    with pytest.raises(EngineError) as native:
        _native.open_manifest(str(path), True)
    assert str(native.value) == str(python.value)


def each(name: str, *values: object) -> list[dict[str, Any]]:
    return [{name: value} for value in values]


CHANGES: list[dict[str, Any]] = [
    *each("schema_version", None, True, 0, 1, 2, 3, 5, "4", 4.5),
    *each("vocab_size", 0, -1, 2**31, None, True, "24", 24.5),
    *each("eos_token_ids", [24], [-1], [True], ["5"], [[5]], None),
    *each("not_exported", {"mtp": -1}, {"mtp": True}, {"mtp": "x"}, []),
    *({name: [1]} for name in ("deltaport_version", "target", "ragged", "dtype", "decoder")),
    *({name: 1} for name in ("quantization", "model", "state", "files", "other")),
    *({"decoder": "absent.onnx"}, {"max_positions": 0}, {"op_library_version": 0}),
    *each("quantization", 1, [], "int4"),
    *each("plan", 1, [], "decoder.plan"),
    *each("files", [], [1], [{}], [{"path": "a", "size": 1}]),
]

STATE_CHANGES: list[dict[str, Any]] = [
    *each("layer", -1, True, None),
    *each("kind", "KV", "conv", "recurrent", 1),
    *each("update", "", "copy", None),
    *each("dtype", "int64", "float", None),
    *each("rewindable", 1, "true"),
    *each("input", "", "x" * 201, "a\nb", 1, "present.0.key"),
    *each("shape", [], [1], [1, "slots"], [1, "capacity"], ["slots"], ["slots", 1]),
    *each("shape", ["slots", 0, "capacity"], ["slots", "capacity", "capacity"]),
    *each("shape", *(["slots", "capacity", last] for last in ("slots", "x", True, 2**31, 1.5))),
    *each("shape", "slots", {}),
    *({"other": 1}, {"kind": "recurrent", "shape": ["slots"]}),
]

FILE_CHANGES: list[dict[str, Any]] = [
    *each("path", "", ".", "..", "/etc/passwd", "a/../b", "a//b", "a/", "./a"),
    *each("path", "a\\b", "C:a", "a\nb", "\0", 1, "a/.", "a/..", "//a", "é"),
    *each("size", -1, True, "1", None, 1.5),
    *each("sha256", "", "A" * 64, "a" * 63, "a" * 64 + "\n", None, 1),
]


PLAN_CHANGES: list[dict[str, Any]] = [
    *each("file", "", "absent.plan", 1, None, "a\nb"),
    *each("builder", "", 1, None),
    *each("gpu", "", 89),
    *each("slots", 0, -1, 2**31, True, 1.5, "3", None),
    *({"prefill_tokens": 0}, {"capacity": 0}, {"other": 1}),
]


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        *(((), changes) for changes in CHANGES),
        *((("state", 0), changes) for changes in STATE_CHANGES),
        *((("files", 0), changes) for changes in FILE_CHANGES),
        *((("plan",), changes) for changes in PLAN_CHANGES),
    ],
)
def test_complains_of_fields_as_python_does(
    tmp_path: Path, place: tuple[Any, ...], changes: dict[str, Any]
) -> None:
    folder = write_toy(tmp_path / "toy", plan=PLAN)
    document = json.loads((folder / MANIFEST_NAME).read_text())
    row = document
    for key in place:
        row = row[key]
    row.update(changes)
    (folder / MANIFEST_NAME).write_text(json.dumps(document))
    with pytest.raises(EngineError) as python:
        open_package(folder)
    with pytest.raises(EngineError) as native:
        _native.open_manifest(str(folder), True)
    if changes == {"path": "é"}:
        assert "leaves the engine folder" in str(native.value)
    else:
        assert str(native.value) == str(python.value)


# What the native reader alone refuses: halves of characters, and numbers beyond double or int64.
STRICTER = re.compile(rb"\\ud[89a-f]|1e999|18446744073709551|9223372036854775808")


@pytest.mark.parametrize("seed", range(400))
def test_accepts_the_same_of_damaged_manifests(tmp_path: Path, seed: int) -> None:
    folder = write_toy(tmp_path / "toy", plan=PLAN if seed % 3 else None)
    random = Random(seed)
    path = folder / MANIFEST_NAME
    mutate = mutate_json if seed % 2 else mutate_bytes
    path.write_bytes(mutate(random, path.read_bytes()))
    try:
        expected = as_python_reads(folder, checksums=False)
    except EngineError as problem:
        if re.search(r"json: quantization[:.\[ ]", str(problem)):
            return  # the native reader does not look into it
        with pytest.raises(EngineError, match=r"\A[ -~]{,600}\Z"):
            _native.open_manifest(str(folder), False)
        return
    try:
        found = _native.open_manifest(str(folder), False)
    except EngineError:
        assert STRICTER.search(path.read_bytes())
        return
    assert exactly(found) == exactly(expected)
