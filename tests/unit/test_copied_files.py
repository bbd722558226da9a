"""Tokenizer files: those that are there, and none that only seems to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltaport.errors import CheckpointError
from deltaport.exporter.copied_files import copied_files


def test_files_and_links_to_files_are_found(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "README.md", "blob"):
        (tmp_path / name).touch()
    (tmp_path / "vocab.json").symlink_to("blob")
    assert [path.name for path in copied_files(tmp_path)] == ["tokenizer.json", "vocab.json"]


def test_a_link_to_nothing_is_named_with_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").symlink_to("../blobs/0")
    with pytest.raises(CheckpointError) as caught:
        copied_files(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'tokenizer.json'}: is a link to '../blobs/0', which is not there; a "
        "half-finished download? download the checkpoint again"
    )


def test_a_folder_or_something_huge_is_named(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").mkdir()
    with pytest.raises(CheckpointError, match=r"vocab\.json: is not a regular file"):
        copied_files(tmp_path)
    (tmp_path / "vocab.json").rmdir()
    with (tmp_path / "vocab.json").open("wb") as file:
        file.truncate((256 << 20) + 1)
    with pytest.raises(CheckpointError, match=r"vocab\.json: larger than 256 MiB"):
        copied_files(tmp_path)
