"""The report of ``deltaport verify`` as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .console import print_table, write_text
from .wording import describe_left_out

if TYPE_CHECKING:
    from deltaport.verify import Report
    from deltaport.verify.report import Layers
    from deltaport.verify.verdict import PromptResult

__all__ = ["print_report"]


def print_report(report: Report) -> None:
    """All that was found, and in the last line what it amounts to."""
    print_table(f"{report.engine} against {report.checkpoint}", _overview(report))
    write_text("\n")
    kinds = list(next(iter(report.prompts[0].runs.values())).state)
    header = ("prompt", "tokens", "logits", "KL mean", "KL max", "top-1", "greedy")
    rows = [_prompt_row(result, kinds) for result in report.prompts]
    print_table(
        "largest errors, prompts whole and in chunks",
        [(*header, *kinds, "margin"), *rows],
        numbers=len(header) + len(kinds),
    )
    if report.layers is not None:
        write_text("\n")
        _print_layers(report.layers)
    for note in report.notes:
        write_text(f"\nnote: {note}\n")
    write_text(f"\n{report.verdict()}{_where_to_look(report)}\n")
    if report.layers is not None and report.layers.departure is not None:
        write_text(f"{report.layers.departure.describe()}\n")


def _overview(report: Report) -> list[tuple[str, ...]]:
    allowed = report.bounds
    rounding = report.rounding.describe()
    prefix = [] if report.passes is None else [("passes", report.passes.describe())]
    return [
        ("oracle", f"{report.oracle}, float32{rounding and f', {rounding}'}"),
        *prefix,
        ("stored as", f"{report.engine_dtype}, the checkpoint {report.checkpoint_dtype}"),
        (
            "allowed",
            f"logits {allowed.logits:.1e}, state {allowed.state:.1e} of the largest value "
            f"(rounding of {allowed.dtype})",
        ),
        ("not compared", describe_left_out(report.not_compared)),
    ]


def _prompt_row(result: PromptResult, kinds: list[str]) -> tuple[str, ...]:
    runs = list(result.runs.values())
    greedy = result.greedy
    logits = max(*(run.logit_error for run in runs), greedy.logit_error)
    return (
        result.prompt.name,
        f"{len(result.prompt.tokens)}",
        f"{logits:.1e}",
        f"{max(run.kl_mean for run in runs):.1e}",
        f"{max(run.kl_max for run in runs):.1e}",
        f"{100 * min(run.top1 for run in runs):.1f} %",
        f"{greedy.matched}/{greedy.of}{' tie' if greedy.tie else ''}",
        *(f"{max(run.state[kind] for run in runs):.1e}" for kind in kinds),
        f"{result.router_margin:.1e}{' tie' if result.router_tied else ''}",
    )


def _print_layers(layers: Layers) -> None:
    from deltaport.verify.drift import AT_EMBEDDING
    from deltaport.verify.engine_run import CHUNKED, WHOLE

    found = layers.departure

    def mark(here: bool) -> str:
        return "<-- departs" if here else ""

    before = found is not None and found.part == AT_EMBEDDING
    after = found is not None and found.layer is None and not before
    whole, chunked = layers.drift[WHOLE], layers.drift[CHUNKED]
    rows = [("layer", "mixer", "after it", "after feed-forward", "state", "in chunks", "")]
    embedded = (f"{whole.embedded:.1e}", "", "", f"{chunked.embedded:.1e}")
    rows.append(("embedding", "", *embedded, mark(before)))
    for i, (kind, once, again) in enumerate(
        zip(layers.kinds, whole.layers, chunked.layers, strict=True)
    ):
        rows.append(
            (
                f"{i}",
                kind.replace("_", " "),
                f"{once.mixed:.1e}",
                f"{once.output:.1e}",
                f"{max(once.state.values()):.1e}",
                f"{max(again.mixed, again.output, *again.state.values()):.1e}",
                mark(found is not None and found.layer == i),
            )
        )
    logits = (f"{whole.logits:.1e}", "", "", f"{chunked.logits:.1e}")
    rows.append(("logits", "", *logits, mark(after)))
    print_table("errors layer by layer, largest of all prompts", rows)


def _where_to_look(report: Report) -> str:
    if report.equal or report.layers is not None:
        return ""
    return "; run with --layers to see where"
