"""Where a conversation's turns come from: somebody at a terminal, or lines of a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from deltaport.errors import InputError

__all__ = ["Input", "PipedInput", "TerminalInput"]

_PROMPT, _MORE = "> ", ". "
_FENCE = '"""'


class Input(Protocol):
    """Gives turns one after the other."""

    interactive: bool
    """Somebody is there to read what went wrong and try again."""

    def read(self) -> str | None:
        """The next turn; None when there is no more."""


class TerminalInput:
    r"""Lines as they are typed, with history and editing where Python has readline.

    A line that ends with a backslash goes on in the next; ``\"\"\"`` opens and closes text of
    several lines.
    """

    interactive = True

    def __init__(self) -> None:
        with suppress(ImportError):  # not on Windows; input() does without
            import readline  # noqa: F401 - being imported is what it does
        # input() shows its prompt on stdout, which may be a file that wants the answers alone.
        self._by_hand = not sys.stdout.isatty()

    def read(self) -> str | None:
        """What is typed, as a whole; None after Ctrl-D."""
        try:
            line = self._line(_PROMPT)
            if line.lstrip().startswith(_FENCE):
                return self._fenced(line.lstrip().removeprefix(_FENCE))
            while line.endswith("\\"):
                line = line[:-1] + "\n" + self._line(_MORE)
        except UnicodeDecodeError:
            raise InputError("what was typed is not UTF-8; set the terminal to UTF-8") from None
        except EOFError:
            print(file=sys.stderr)  # the terminal's cursor stands behind the prompt
            return None
        return line

    def _fenced(self, line: str) -> str:
        lines = []
        while not line.rstrip().endswith(_FENCE):
            lines.append(line)
            line = self._line(_MORE)
        lines.append(line.rstrip().removesuffix(_FENCE))
        return "\n".join(lines).strip("\n")

    def _line(self, prompt: str) -> str:
        if not self._by_hand:
            return input(prompt)
        print(prompt, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.removesuffix("\n")


class PipedInput:
    """Every line is a turn."""

    interactive = False

    def __init__(self) -> None:
        self._lines = self._decoded()

    def read(self) -> str | None:
        """The next line; InputError for one that is not UTF-8."""
        return next(self._lines, None)

    def _decoded(self) -> Iterator[str]:
        if sys.stdin is None:
            raise InputError("standard input is closed; give it lines to answer")
        try:
            for number, line in enumerate(sys.stdin.buffer, 1):
                try:
                    text = line.decode()
                except UnicodeDecodeError as error:
                    raise InputError(
                        f"standard input: line {number} is not UTF-8 at byte {error.start}; "
                        "convert it first"
                    ) from None
                yield text.removesuffix("\n").removesuffix("\r")
        except OSError as error:
            raise InputError(f"standard input: cannot be read: {error.strerror}") from None
