"""What ``deltaport chat`` shows: answers on stdout, everything about them on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from .console import console, write_text
from .formatting import format_seconds, plural, terminal_safe
from .run_statistics import CUT_SHORT

if TYPE_CHECKING:
    from deltaport.chat import Answer, AnswerPart

__all__ = ["Screen"]


class Screen:
    """Shows the parts of answers as they come."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._last = ""  # what the answer has shown last

    def show(self, part: AnswerPart) -> None:
        """Write a part at once; reasoning only to a terminal, and dim."""
        if part.kind == "reasoning":
            if not sys.stdout.isatty():
                return
            _dim(sys.stdout, part.text)
            self._last = part.kind
        else:
            # A line between the two, which neither of them has.
            write_text("\n\n" + part.text if self._last == "reasoning" else part.text)
            self._last = part.kind

    def end_answer(self) -> None:
        """End its line, also where there was nothing to show: for pipes, a line is an answer."""
        self._last = ""
        write_text("\n")

    def summarize(self, answer: Answer) -> None:
        """How fast it came, and why it ended if not by itself."""
        if self._quiet:
            return
        count, seconds = len(answer.tokens), answer.writing_seconds
        line = f"{plural(answer.read_tokens, 'token')} read"
        if known := answer.prompt_tokens - answer.read_tokens:
            line += f", {plural(known, 'token')} known"
        line += f", {plural(count, 'token')} written"
        if count:
            line += f" in {format_seconds(answer.reading_seconds + seconds)}"
        if count > 1 and seconds:
            line += f" ({(count - 1) / seconds:.1f} tokens/s after the first)"
        self.note(line + _ending(answer))

    def note(self, text: str, *, fresh_line: bool = False, wanted: bool = False) -> None:
        """Tell something about the conversation: nothing if quiet, unless it is ``wanted``."""
        if wanted or not self._quiet:
            _dim(sys.stderr, ("\n" if fresh_line else "") + text + "\n")


def _ending(answer: Answer) -> str:
    match answer.finish_reason:
        case None if not answer.tokens:
            return "; stopped before the answer began: the question is not kept"
        case None:
            return "; stopped"
        case "length" if answer.reasons_only:
            return (
                "; cut short while reasoning, before an answer: pass a higher -n or --context, or "
                "--no-thinking"
            )
        case "length":
            return f"; {CUT_SHORT}"
        case _:
            return ""


def _dim(stream: TextIO, text: str) -> None:
    from rich.text import Text

    out = console(stream)
    out.print(Text(terminal_safe(text), "dim"), end="", soft_wrap=True)
    stream.flush()
