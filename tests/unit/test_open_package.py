"""A folder is opened only if it is exactly what its manifest says."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from deltaport.errors import EngineError
from deltaport.package import MANIFEST_NAME, FileEntry, Manifest, open_package
from deltaport.state_layout import StateLayout

CONTENTS = {"decoder.onnx": b"graph", "decoder.onnx.data": b"\0" * 5000, "sub/vocab.json": b"{}"}


def entry(path: str, data: bytes) -> FileEntry:
    return FileEntry(path, len(data), hashlib.sha256(data).hexdigest())


def manifest_of(*entries: FileEntry) -> Manifest:
    return Manifest(
        deltaport_version="0.1.0",
        target="portable",
        ragged=True,
        dtype="float32",
        decoder="decoder.onnx",
        vocab_size=10,
        max_positions=20,
        eos_token_ids=(),
        op_library_version=1,
        quantization=None,
        model={},
        not_exported={},
        state=StateLayout(()),
        files=entries,
    )


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    root = tmp_path / "engine"
    (root / "sub").mkdir(parents=True)
    for path, data in CONTENTS.items():
        (root / path).write_bytes(data)
    manifest = manifest_of(*(entry(path, data) for path, data in CONTENTS.items()))
    (root / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return root


def refuse(engine: Path, message: str, *, checksums: bool = True) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        open_package(engine, checksums=checksums)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("checksums", [False, True])
def test_a_good_engine_opens(engine: Path, checksums: bool) -> None:
    manifest = open_package(engine, checksums=checksums)
    assert [file.path for file in manifest.files] == list(CONTENTS)
    assert open_package(str(engine)) == manifest


def test_files_that_are_not_listed_are_ignored(engine: Path) -> None:
    (engine / "notes.txt").touch()
    open_package(engine)


def test_a_link_to_the_engine_opens(engine: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(engine)
    open_package(tmp_path / "link")


def test_a_relative_folder_opens(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(engine.parent)
    open_package("engine")
    monkeypatch.chdir(engine)
    open_package(".")


@pytest.mark.parametrize("checksums", [False, True])
@pytest.mark.parametrize("path", CONTENTS)
def test_a_missing_file(engine: Path, path: str, checksums: bool) -> None:
    (engine / path).unlink()
    refuse(engine, f"{path}: missing from the engine", checksums=checksums)


@pytest.mark.parametrize("checksums", [False, True])
@pytest.mark.parametrize("path", CONTENTS)
def test_a_truncated_or_longer_file(engine: Path, path: str, checksums: bool) -> None:
    for data in (CONTENTS[path][:-1], CONTENTS[path] + b"x"):
        (engine / path).write_bytes(data)
        refuse(
            engine,
            f"{path}: has {len(data)} bytes, the manifest says {len(CONTENTS[path])}",
            checksums=checksums,
        )


@pytest.mark.parametrize("path", CONTENTS)
def test_an_altered_file(engine: Path, path: str) -> None:
    data = CONTENTS[path]
    (engine / path).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    refuse(engine, f"{path}: checksum differs")
    open_package(engine, checksums=False)


def test_a_folder_in_place_of_a_file(engine: Path) -> None:
    (engine / "decoder.onnx").unlink()
    (engine / "decoder.onnx").mkdir()
    refuse(engine, r"decoder\.onnx: not a regular file")


def test_a_pipe_in_place_of_a_file_does_not_block(engine: Path) -> None:
    (engine / "decoder.onnx").unlink()
    os.mkfifo(engine / "decoder.onnx")
    refuse(engine, r"decoder\.onnx: not a regular file")


@pytest.mark.parametrize("checksums", [False, True])
def test_a_link_that_leaves_the_engine(engine: Path, tmp_path: Path, checksums: bool) -> None:
    # Its target has the right bytes: it is refused for where it is.
    (tmp_path / "secret").write_bytes(CONTENTS["decoder.onnx"])
    for target in (tmp_path / "secret", Path("../secret"), Path("sub/../../secret")):
        (engine / "decoder.onnx").unlink()
        (engine / "decoder.onnx").symlink_to(target)
        refuse(engine, "a link that leaves the engine folder", checksums=checksums)


def test_a_folder_that_is_a_link_out_of_the_engine(engine: Path, tmp_path: Path) -> None:
    (engine / "sub").rename(tmp_path / "elsewhere")
    (engine / "sub").symlink_to(tmp_path / "elsewhere")
    refuse(engine, r"vocab\.json: a link that leaves the engine folder")


def test_a_sibling_whose_name_begins_alike_is_outside(engine: Path, tmp_path: Path) -> None:
    (tmp_path / "engine2").mkdir()
    (tmp_path / "engine2" / "decoder.onnx").write_bytes(CONTENTS["decoder.onnx"])
    (engine / "decoder.onnx").unlink()
    (engine / "decoder.onnx").symlink_to(tmp_path / "engine2" / "decoder.onnx")
    refuse(engine, "a link that leaves the engine folder")


def test_a_link_inside_the_engine_is_fine(engine: Path) -> None:
    (engine / "decoder.onnx").rename(engine / "blob")
    (engine / "decoder.onnx").symlink_to("blob")
    open_package(engine)


def test_a_link_to_itself(engine: Path) -> None:
    (engine / "decoder.onnx").unlink()
    (engine / "decoder.onnx").symlink_to("decoder.onnx")
    refuse(engine, r"decoder\.onnx: ")


def test_a_name_no_file_system_takes(engine: Path) -> None:
    manifest = manifest_of(entry("decoder.onnx", b"graph"), entry("x" * 5000, b""))
    (engine / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    refuse(engine, "too long")


def test_no_folder(tmp_path: Path) -> None:
    refuse(tmp_path / "nowhere", "no such engine folder; make one with: deltaport export")
    (tmp_path / "file").touch()
    refuse(tmp_path / "file", "no such engine folder")


def test_no_manifest(engine: Path) -> None:
    (engine / MANIFEST_NAME).unlink()
    refuse(engine, r"has no manifest\.json")


def test_a_manifest_that_is_not_text(engine: Path) -> None:
    (engine / MANIFEST_NAME).write_bytes(b"\xff\xfe{}")
    refuse(engine, r"manifest\.json: not UTF-8")


def test_a_manifest_that_is_not_json_is_named(engine: Path) -> None:
    (engine / MANIFEST_NAME).write_text("{")
    refuse(engine, r"engine/manifest\.json: is not valid JSON")


def test_a_huge_manifest_is_not_read(engine: Path) -> None:
    with (engine / MANIFEST_NAME).open("ab") as file:
        file.truncate((64 << 20) + 1)  # sparse: takes no room on the disk
    refuse(engine, r"manifest\.json: larger than 64 MiB")


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_a_manifest_that_is_no_file(engine: Path, kind: str) -> None:
    path = engine / MANIFEST_NAME
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    refuse(engine, r"manifest\.json: not a regular file")
