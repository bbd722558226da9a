"""Reading the documentation as tests need it."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["DOCS", "PAGES", "ROOT", "anchors", "code_blocks", "links", "page"]

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = (
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(DOCS.glob("*.md")),
    *sorted(ROOT.glob("examples/*/README.md")),
)


def page(name: str) -> str:
    """The text of a page of ``docs``."""
    return (DOCS / name).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", without_code(text), flags=re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        repeated = re.compile(rf"{re.escape(plain)}(-\d+)?")
        earlier = sum(repeated.fullmatch(other) is not None for other in found)
        found.append(f"{plain}-{earlier}" if earlier else plain)
    return set(found)


def links(text: str) -> list[str]:
    """Targets of the links of a page, code left out."""
    prose = re.sub(r"`[^`\n]*`", "code", without_code(text))
    return re.findall(r"\[[^\]\n]+\]\(([^)\s]+)\)", prose)


def code_blocks(text: str, language: str) -> list[tuple[int, str]]:
    """Line number and source of every block in a language."""
    return [
        (text[: found.start(1)].count("\n"), found[1])
        for found in re.finditer(
            rf"^```{re.escape(language)}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE
        )
    ]
