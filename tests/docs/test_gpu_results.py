"""No figure of a GPU is without its card and commit, and no page says more than was tried."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.docs.pages import PAGES, page
from tests.gpu_check.test_results_page import RESULTS
from tools.gpu_check.results_page import NOT_YET, page_with, sections_of

PAGE = "gpu-results.md"
OWNERS = ("card", "compute capability", "commit", "date")
FIGURE = re.compile(r"^\|.*\d", re.MULTILINE)


def wrong_with(text: str) -> str | None:
    """What is wrong with a page of results."""
    sections = sections_of(text)
    before = text.partition("\n## ")[0]
    if FIGURE.search(before):
        return "a figure outside of a card's section"
    if (NOT_YET in before) == bool(sections):
        return "it has to say that nothing was run, or what was"
    for card, section in sections.items():
        for owner in OWNERS:
            if not re.search(rf"^\| {owner} \| [^|\s][^|]* \|$", section, re.MULTILINE):
                return f"{card} has no {owner}"
    return None


def test_every_figure_has_a_card_and_a_commit() -> None:
    assert wrong_with(page(PAGE)) is None
    assert page(PAGE) == page_with(page(PAGE)), "it is written by 'make gpu-check' alone"


def denies(text: str) -> bool:
    """Whether a page says that nothing has run on a GPU yet."""
    said = " ".join(text.split())
    return (
        re.search(r"\b(not|nothing|none|nobody)\b[^.|]* on (a GPU|hardware)\b", said, re.I)
        is not None
    )


def test_other_pages_do_not_deny_what_was_run() -> None:
    if NOT_YET in page(PAGE):
        return
    pages = (path for path in PAGES if path.name != "CHANGELOG.md")
    denying = [path.name for path in pages if denies(path.read_text(encoding="utf-8"))]
    assert not denying, f"there are results of a GPU: tell of them in {denying}"


@pytest.mark.parametrize(
    "text",
    ["**Not yet run on\nhardware**", "Nothing here has run on a GPU yet", "not tried on a GPU"],
)
def test_a_denial_is_found(text: str) -> None:
    assert denies(f"A page. {text}.")
    assert not denies("It has run. On a GPU, too.")


MACHINE = dict.fromkeys(OWNERS, "known 1")


@pytest.mark.parametrize("missing", OWNERS)
def test_a_section_without_its_owner_is_found(missing: str) -> None:
    good = replace(RESULTS, machine=MACHINE)
    assert wrong_with(page_with("", good)) is None
    bad = replace(good, machine={**MACHINE, missing: " "})
    assert wrong_with(page_with("", bad)) == f"{RESULTS.card} has no {missing}"


def test_a_figure_of_nobody_is_found() -> None:
    text = page_with("") + "\n| decode | 12 |\n"
    assert wrong_with(text) == "a figure outside of a card's section"
    assert wrong_with(page_with("").replace(NOT_YET, "")) is not None
