"""Reading what ``--text`` names."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaport.cli import text_file
from deltaport.cli.text_file import read_text
from deltaport.errors import InputError


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text") / "book.txt"


@given(text=st.text(max_size=20), most=st.integers(1, 90), piece=st.integers(1, 9))
def test_what_fits_into_the_first_bytes(file: Path, text: str, most: int, piece: int) -> None:
    file.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "_PIECE", piece)
        found = read_text(str(file), most)
    assert text.startswith(found)
    left = text[len(found) :]
    room = most - len(found.encode())
    assert room >= 0
    assert not left or len(left[0].encode()) > room, "one more character would fit"


@given(text=st.text())
def test_all_of_it_as_it_is(file: Path, text: str) -> None:
    file.write_bytes(text.encode())
    assert read_text(str(file)) == text


def test_room_for_more_than_there_is_or_could_be(file: Path) -> None:
    file.write_text("little")
    assert read_text(str(file), 10**30) == "little"


@pytest.mark.parametrize("most", [None, 3, 100])
def test_bytes_that_are_no_text(file: Path, most: int | None) -> None:
    file.write_bytes(b"a\xff\xffbc")
    with pytest.raises(InputError, match=r"book\.txt: not UTF-8 at byte 1; convert it first$"):
        read_text(str(file), most)


def test_a_file_that_ends_within_a_character(file: Path) -> None:
    file.write_bytes("ab€".encode()[:-1])
    with pytest.raises(InputError, match="not UTF-8 at byte 2"):
        read_text(str(file))


def test_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"from a pipe"))
    writer.start()
    assert read_text(str(pipe), 6) == "from a"
    writer.join()


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="Is a directory"):
        read_text(str(tmp_path))
    with pytest.raises(InputError, match=r"gone\.txt: cannot be read: No such file"):
        read_text(str(tmp_path / "gone.txt"))
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputError, match="standard input is closed"):
        read_text("-")


def test_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("Zürich".encode())))
    assert read_text("-", 2) == "Z"
