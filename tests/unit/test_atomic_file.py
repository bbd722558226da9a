"""A file that is written beside its place, and takes it when it is complete."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from deltaport.atomic_file import replacing


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))  # noqa: PTH208 - hidden ones, too


def test_it_takes_the_place_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"before")
    with replacing(target) as file:
        file.write(b"after")
        file.flush()
        assert target.read_bytes() == b"before"
    assert target.read_bytes() == b"after"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("before", [b"before", None])
def test_a_block_that_fails_changes_nothing(before: bytes | None, tmp_path: Path) -> None:
    target = tmp_path / "file"
    if before is not None:
        target.write_bytes(before)

    def write_and_fail() -> None:
        with replacing(target) as file:
            file.write(b"after")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert names(tmp_path) == (["file"] if before else [])
    assert before is None or target.read_bytes() == before


@pytest.mark.parametrize(("private", "mode"), [(True, 0o600), (False, 0o640)])
def test_who_may_read_it(private: bool, mode: int, tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        with replacing(tmp_path / "file", private=private):
            pass
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "none" / "file"):
        raise AssertionError("there is no such folder")
