from hypothesis import given
from hypothesis import strategies as st

from deltaport.strict_json import one_line


@given(st.text())
def test_one_line_is_one_printable_line(text: str) -> None:
    assert one_line(text).isprintable()


def test_one_line_keeps_what_prints_and_shows_what_does_not() -> None:
    assert one_line("Zürich 你好") == "Zürich 你好"
    assert one_line("a\nb\x1b[31m\udcff") == "a\\nb\\x1b[31m\\udcff"
