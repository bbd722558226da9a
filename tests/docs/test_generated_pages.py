"""Pages that are made from the code are what the code now gives."""

from __future__ import annotations

import pytest

from tests.docs.pages import page
from tools.generate_docs import PAGES


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(name: str) -> None:
    assert page(name) == PAGES[name](), f"docs/{name} has fallen behind the code; run: make docs"


@pytest.mark.parametrize("width", ["20", "300"])
def test_the_terminal_does_not_matter(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert PAGES["commands.md"]() == page("commands.md")
