"""Small pieces of Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

__all__ = ["code", "docstring", "fence", "generated", "table"]


def generated(title: str, source: str) -> str:
    """The head of a page, with what it is made from."""
    return f"<!-- Made from {source} by 'make docs'; do not edit. -->\n\n# {title}"


def code(text: str) -> str:
    """Inline code, fit for a table's cell too."""
    return "`" + text.replace("|", r"\|") + "`"


def fence(text: str, language: str = "text") -> str:
    """A block of code."""
    return f"```{language}\n{text.strip(chr(10))}\n```"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table; bars in prose are escaped already where they stand in code."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(' '.join(cell.split()) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def docstring(owner: object) -> str:
    """The docstring of a class or module, its markup turned into Markdown's."""
    text = inspect.getdoc(owner) or ""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")
