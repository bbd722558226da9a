"""Reading what ``--text`` names."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaport.cli.text_file import read_text
from deltaport.errors import InputError


class Named(io.BytesIO):
    name = "book.txt"


@given(st.text(max_size=20), st.integers(1, 90))
def test_the_first_bytes(text: str, most: int) -> None:
    found = read_text(Named(text.encode()), most)
    assert text.startswith(found)
    left = text[len(found) :]
    room = most - len(found.encode())
    assert room >= 0
    assert not left or len(left[0].encode()) > room, "one more character would fit"


@given(st.text())
def test_all_of_it_as_it_is(text: str) -> None:
    assert read_text(Named(text.encode()), None) == text


@pytest.mark.parametrize("most", [None, 3, 100])
def test_bytes_that_are_no_text(most: int | None) -> None:
    with pytest.raises(InputError, match=r"^book\.txt: not UTF-8 at byte 1; convert it first$"):
        read_text(Named(b"a\xff\xffbc"), most)


def test_a_file_that_ends_within_a_character() -> None:
    with pytest.raises(InputError, match="not UTF-8 at byte 2"):
        read_text(Named("ab€".encode()[:-1]), None)


def test_a_file_that_cannot_be_read() -> None:
    class Broken(Named):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(InputError, match=r"^book\.txt: cannot be read: Input/output error$"):
        read_text(Broken(), None)
