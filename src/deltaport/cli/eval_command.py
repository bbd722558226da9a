"""``deltaport eval``: how well an engine predicts a text, and how near it is to another engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deltaport.strict_json import one_line

from .options import (
    context_option,
    engine_argument,
    json_option,
    no_checksums_option,
    quiet_option,
    threads_option,
)
from .prompt import check_context
from .text_file import read_text

if TYPE_CHECKING:
    from deltaport.evaluate import Comparison, Estimate, Evaluation, Score

__all__ = ["evaluate"]


@click.command(
    "eval",
    short_help="Measure how well an engine predicts a text.",
    epilog="""\b
Examples:
  deltaport eval qwen.engine --text book.txt
  deltaport eval qwen.engine --text book.txt --bytes 100000 --context 4096
  deltaport eval qwen-int4.engine --text book.txt --against qwen.engine --json
""",
)
@engine_argument
@click.option(
    "--text",
    required=True,
    metavar="FILE",
    help="The text, UTF-8; '-' reads it from stdin.",
)
@click.option(
    "--bytes",
    "most_bytes",
    metavar="N",
    type=click.IntRange(min=1),
    help="Only the characters that fit into the first N bytes. By default all of the text.",
)
@click.option(
    "--against",
    metavar="ENGINE",
    type=click.Path(path_type=Path),
    help="Another engine of the same model, which reads along as the reference.",
)
@context_option
@threads_option
@no_checksums_option
@quiet_option
@json_option
def evaluate(
    engine: Path,
    text: str,
    most_bytes: int | None,
    against: Path | None,
    context: int | None,
    threads: int | None,
    no_checksums: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Predict every token of a text with the ENGINE folder from those before it.

    Tells the perplexity over tokens, and the bits per byte a coder would need that knows the
    engine: smaller is better, and the second compares engines whose tokenizers differ. The text is
    read in steps that carry the state; where it is longer than --context it begins anew.

    With --against, both read side by side, and the figures say what the differences between them
    cost: the Kullback-Leibler divergence from the reference, how often both think the same token
    the most likely, and the ratio of their perplexities.
    """
    given = read_text(text, most_bytes)

    from rich.progress import MofNCompleteColumn

    from deltaport.evaluate import EvaluateEvents
    from deltaport.evaluate import evaluate as run
    from deltaport.runtime import Engine

    from .stage_progress import StageProgress

    with StageProgress(MofNCompleteColumn(), quiet=quiet) as progress:
        progress.begin("loading the engine" if against is None else "loading the engines")
        opened = [
            Engine.open(folder, threads=threads, checksums=not no_checksums)
            for folder in (engine, against)
            if folder is not None
        ]
        for one in opened:
            check_context(context, one.manifest.longest_context, source=one.folder)
        progress.begin("reading the text")
        found = run(
            opened[0],
            given,
            against=None if against is None else opened[1],
            context=context,
            events=EvaluateEvents(progress.expect, progress.advance),
        )
    if as_json:
        from .console import write_json
        from .versions import versions

        write_json({**found.to_json(), "versions": versions()})
    else:
        _print(found, name="standard input" if text == "-" else one_line(text))


def _print(found: Evaluation, *, name: str) -> None:
    from .console import print_table, write_text
    from .formatting import plural

    against = "" if found.reference is None else f" against {found.reference.engine}"
    print_table(
        f"{found.score.engine}{against}",
        [
            ("text", f"{name}, {plural(found.size, 'byte')}, {plural(found.tokens, 'token')}"),
            ("contexts", f"{found.contexts:,} of at most {plural(found.context, 'token')}"),
        ],
    )
    write_text("\n")
    if found.reference is None:
        print_table("prediction", _score_rows([found.score]), numbers=1)
        return
    rows = [("", "engine", "reference"), *_score_rows([found.score, found.reference])]
    print_table("prediction", rows, numbers=2)
    if found.comparison is not None:
        write_text("\n")
        print_table("difference", _comparison_rows(found.comparison), numbers=1)


def _score_rows(scores: list[Score]) -> list[tuple[str, ...]]:
    return [
        ("perplexity", *(_give(one.perplexity) for one in scores)),
        ("bits per byte", *(f"{one.bits_per_byte:.4f}" for one in scores)),
    ]


def _comparison_rows(found: Comparison) -> list[tuple[str, ...]]:
    return [
        ("perplexity, ratio", _give(found.ratio)),
        ("same token most likely", f"{100 * found.top1:.2f} %"),
        ("KL divergence, nats", _give(found.kl)),
        ("KL divergence, median", f"{found.kl_median:.3g}"),
        ("KL divergence, 99 % below", f"{found.kl_99th:.3g}"),
        ("KL divergence, largest", f"{found.kl_max:.3g}"),
    ]


def _give(estimate: Estimate) -> str:
    from .formatting import format_estimate

    return format_estimate(estimate.mean, estimate.standard_error)
