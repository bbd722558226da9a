"""Tables where there is little room."""

from __future__ import annotations

import io

import pytest

from deltaport.cli.console import print_table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [20, 40])
def test_narrow_terminals_break_text_but_no_number(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Terminal()
    monkeypatch.setattr("sys.stdout", shown)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    numbers = ("1.23k", "786 kB", "12.3 %") if columns == 40 else ("786 kB",)
    print_table("title", [("attention projections", *numbers)], numbers=len(numbers))
    lines = shown.getvalue().splitlines()
    assert all(any(number in line for line in lines) for number in numbers)
    # The first line is the title, with what makes it bold.
    assert all(len(line) <= columns for line in lines[1:])


def test_pipes_get_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("t" * 300, [("name", "x" * 300)])
    assert capsys.readouterr().out == "t" * 300 + "\n  name  " + "x" * 300 + "\n"
