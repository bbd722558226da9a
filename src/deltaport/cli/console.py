"""Where output goes: results to stdout, everything else to stderr."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from deltaport.errors import OutputError
from deltaport.strict_json import one_line

from .formatting import terminal_safe

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["console", "print_error", "print_table", "waiting", "write_json", "write_text"]

_PIPED_WIDTH = 10_000
"""Columns where there is no terminal to ask: other programs want whole lines, however long."""


def console(stream: TextIO, *, file: TextIO | None = None) -> Console:
    """A rich console that styles terminals only, and never interprets our text.

    It prints to ``stream``, or to ``file`` as it would to ``stream``.
    """
    from rich.console import Console

    shown = stream.isatty()
    return Console(
        file=file or stream,
        force_terminal=True if shown else None,
        width=None if shown else _PIPED_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )


def print_error(message: str) -> None:
    """``error: message`` on stderr, as one line whatever the message holds.

    Without rich, so that mistakes in the arguments answer at once.
    """
    plain = not sys.stderr.isatty() or os.environ.get("NO_COLOR") or _is_dumb()
    head = "error:" if plain else "\x1b[1;31merror:\x1b[0m"
    print(head, one_line(message), file=sys.stderr, flush=True)


def _is_dumb() -> bool:
    return os.environ.get("TERM", "dumb").lower() in ("dumb", "unknown")


def print_table(title: str, rows: Iterable[tuple[str, ...]], *, numbers: int = 0) -> None:
    """A titled table on stdout whose last ``numbers`` columns align to the right.

    Where a terminal is too narrow, text is broken but never a number.
    """
    from rich.text import Text

    rows = list(rows)
    if not rows:
        return
    drawn = io.StringIO()
    out = console(sys.stdout, file=drawn)
    out.print(Text(one_line(title), "bold"), soft_wrap=True)
    out.print(_grid(rows, numbers))
    # rich fills every cell up to the width of its column; at the end of a line nobody wants that.
    _write("".join(line.rstrip() + "\n" for line in drawn.getvalue().splitlines()))


def _grid(rows: list[tuple[str, ...]], numbers: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    columns = len(rows[0])
    for i in range(columns):
        right = i >= columns - numbers
        grid.add_column(
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=right or (i == 0 and not numbers),
            min_width=max(len(row[i]) for row in rows) if right else None,
        )
    for row in rows:
        first, *rest = (one_line(cell) for cell in row)
        grid.add_row(Text(f"  {first}", "cyan"), *(Text(cell) for cell in rest))
    return grid


def write_text(text: str) -> None:
    """Write to stdout at once. On a terminal, control characters cannot take it over."""
    _write(terminal_safe(text) if sys.stdout.isatty() else text)


def write_json(document: object) -> None:
    """Write one JSON document to stdout, in ASCII so that any locale can spell it."""
    import json

    _write(json.dumps(document, indent=2) + "\n")


def _write(text: str) -> None:
    with _write_failures():
        try:
            sys.stdout.write(text)
        except UnicodeEncodeError as error:  # an old locale: better some "?" than no text
            sys.stdout.write(text.encode(error.encoding, "replace").decode(error.encoding))
        sys.stdout.flush()


@contextmanager
def waiting(what: str, *, quiet: bool) -> Iterator[None]:
    """Show a spinner on a terminal while the block runs."""
    err = console(sys.stderr)
    if quiet or not err.is_terminal:
        yield
        return
    with err.status(what):
        yield


@contextmanager
def _write_failures() -> Iterator[None]:
    """A full disk behind ``>`` is the user's to solve; a closed pipe is nobody's."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output: cannot be written: {error.strerror}") from None
