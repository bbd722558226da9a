"""Pages of ``docs/`` that are made from the code, so that they cannot fall behind it."""

from __future__ import annotations

from collections.abc import Callable

from tools.generate_docs.commands_page import commands_page
from tools.generate_docs.ops_page import ops_page
from tools.generate_docs.passes_page import passes_page

__all__ = ["PAGES"]

PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "custom-ops.md": ops_page,
    "passes.md": passes_page,
}
"""Each page's file in ``docs/``, and what makes its text."""
