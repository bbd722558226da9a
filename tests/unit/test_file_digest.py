"""The checksum of a file is that of its pieces, however it comes and whoever computes it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random

import pytest

from deltaport.package.file_digest import PIECE_BYTES, FileDigest, file_digests

SIZES = [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 3 * PIECE_BYTES + 5]


def expected(data: bytes) -> str:
    """As docs/engine-folder.md has it."""
    if len(data) <= 16 << 20:
        return hashlib.sha256(data).hexdigest()
    pieces = [data[at : at + (16 << 20)] for at in range(0, len(data), 16 << 20)]
    return hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).hexdigest()


def test_of_files(tmp_path: Path) -> None:
    contents = {tmp_path / str(size): Random(size).randbytes(size) for size in SIZES}
    for path, data in contents.items():
        path.write_bytes(data)
    assert file_digests(contents) == [expected(data) for data in contents.values()]


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
    (tmp_path / "there").touch()
    with pytest.raises(FileNotFoundError) as caught:
        file_digests([tmp_path / "there", tmp_path / "gone"])
    assert caught.value.filename == str(tmp_path / "gone")
