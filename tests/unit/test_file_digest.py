"""The checksum of a file is that of its pieces, however it comes and whoever computes it."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from deltaport.package.file_digest import PIECE_BYTES, FileDigest, file_digest
from deltaport.threads import available_threads

SIZES = [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 3 * PIECE_BYTES + 5]


def expected(data: bytes) -> str:
    """As docs/engine-folder.md has it."""
    if len(data) <= 16 << 20:
        return hashlib.sha256(data).hexdigest()
    pieces = [data[at : at + (16 << 20)] for at in range(0, len(data), 16 << 20)]
    return hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).hexdigest()


@pytest.mark.parametrize("size", SIZES)
def test_of_a_file(tmp_path: Path, size: int) -> None:
    path, data = tmp_path / "file", Random(size).randbytes(size)
    path.write_bytes(data)
    assert file_digest(path) == expected(data)


def test_where_no_thread_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, data = tmp_path / "file", Random(0).randbytes(3 * PIECE_BYTES)
    path.write_bytes(data)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert file_digest(path) == expected(data)


@pytest.mark.parametrize("size", SIZES)
def test_of_what_comes_in_parts(size: int) -> None:
    data = Random(size).randbytes(size)
    digest, at, random = FileDigest(), 0, Random(1)
    while at < size:
        step = random.choice([1, 1000, PIECE_BYTES // 3, PIECE_BYTES, 5 * PIECE_BYTES // 2])
        digest.update(memoryview(data)[at : at + step])
        at += step
        assert digest.hexdigest() == expected(data[:at])  # as of now, and goes on
    assert digest.hexdigest() == expected(data)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        file_digest(tmp_path / "gone")
    assert caught.value.filename == str(tmp_path / "gone")


@pytest.mark.parametrize("size", [1, 5 * PIECE_BYTES])
def test_a_file_that_cannot_be_read_is_named(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("/proc/self/mem")  # nothing is mapped where it begins
    status = os.stat_result((0, 0, 0, 0, 0, 0, size, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda self: status)
    with pytest.raises(OSError, match="Input/output error") as caught:
        file_digest(path)
    assert caught.value.filename == str(path)


def test_few_pieces_are_under_way_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's file may have any size, for nothing, where it is full of holes."""
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, 2**40)
    begun, waiting = 0, 0

    def begin(pool: object, path: Path, at: int) -> Callable[[], bytes]:
        nonlocal begun, waiting
        begun += 1
        waiting = max(waiting, begun - done)
        return finish

    done = 0

    def finish() -> bytes:
        nonlocal done
        done += 1
        return bytes(32)

    monkeypatch.setattr("deltaport.package.file_digest._begin", begin)
    file_digest(path)
    assert begun == done == 2**40 // PIECE_BYTES
    assert waiting <= 2 * available_threads() + 1
