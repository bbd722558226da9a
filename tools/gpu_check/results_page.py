"""``docs/gpu-results.md``: a section for every card that was tried, and nothing without one."""

from __future__ import annotations

import re

from benchmarks.report import Row

from tools.generate_docs.markdown import table
from tools.gpu_check.results import Figures, Results

__all__ = ["NOT_YET", "page_with", "sections_of"]

NOT_YET = "Not yet run on hardware."
_TITLE = "# GPU results\n"
_NOTHING = f"""{NOT_YET} No GPU was there while the [TensorRT targets](tensorrt.md) and their
kernels were made. `make gpu-check` runs all that wants one and writes what it finds here, a section
for each card, with the commit it was found with. Open until then:

- parity of plans with transformers, on a card; `lower_right` of `TRT_Attention` with `kv_lengths`
  in particular, which is taken from its documentation, and the several kernels TensorRT takes where
  no single one does all of an attention (`TRT_decomposable`);
- the kernels' bits on tensor cores, which cut off sums a little differently from card to card;
- every speed, and from how many tokens on the gated delta rule is better done in chunks (taken to
  be 9).
"""
_SOMETHING = """`make gpu-check` on a machine with a GPU writes the section of its card, in place of
the one that was there. What is *not run* says what it lacked: nothing is known of it on that card.
"""
_CARD = re.compile(r"^## (.+)$", re.MULTILINE)


def sections_of(page: str) -> dict[str, str]:
    """The sections of a page by card, headings left out."""
    parts = _CARD.split(page)[1:]
    return {card: text.strip("\n") for card, text in zip(parts[::2], parts[1::2], strict=True)}


def page_with(page: str, results: Results | None = None) -> str:
    """The page with the section of these results, in place of the same card's if there is one."""
    sections = sections_of(page)
    if results is not None:
        sections[results.card] = _section(results)
    if not sections:
        return f"{_TITLE}\n{_NOTHING}"
    cards = "".join(f"\n## {card}\n\n{sections[card]}\n" for card in sorted(sections))
    return f"{_TITLE}\n{_SOMETHING}{cards}"


def _section(results: Results) -> str:
    checks = [(check.name, check.state, check.detail) for check in results.checks]
    parts = [
        table(("", ""), results.machine.items()),
        table(("check", "result", ""), checks),
        *(_figures(figures) for figures in results.figures),
    ]
    return "\n\n".join(parts)


def _figures(figures: Figures) -> str:
    head = ("case", "ours", "peer", "ratio", "limit share")
    return f"{figures.name}, in {figures.unit}:\n\n{table(head, map(_cells, figures.rows))}"


def _cells(row: Row) -> tuple[str, ...]:
    amounts = (_text(value, ",.4g") for value in (row.ours, row.peer))
    return row.case, *amounts, _text(row.ratio, ".2f"), _text(row.limit_share, ".0%")


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
