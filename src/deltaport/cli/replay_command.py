"""``deltaport replay``: passes over a dumped graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deltaport.errors import InputError, OutputError, PassError

from .installed import check_installed
from .options import passes_option, quiet_option
from .text_file import read_text

if TYPE_CHECKING:
    from deltaport.graph_passes.pipeline import PassRun, Pipeline

__all__ = ["replay"]

_NEEDED = ("ml_dtypes", "onnx", "onnx_ir")
_SIZE_LIMIT = 256 << 20
"""Bytes a dump may have: far above those of the largest model."""


@click.command(
    short_help="Run graph passes on a dumped graph.",
    epilog="""\b
Examples:
  deltaport replay graphs/00-traced.onnxtxt --passes fold-constants --diff
  deltaport replay graphs/00-traced.onnxtxt --passes "fold-constants,verify-graph" -o b.onnxtxt
""",
)
@click.argument("dump")
@passes_option(required=True, meaning="Graph passes to run.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the result there. By default it is printed.",
)
@click.option("--diff", is_flag=True, help="Show what has changed, as a unified diff.")
@quiet_option
def replay(dump: str, passes: str, output: Path | None, diff: bool, quiet: bool) -> None:
    """Run passes on DUMP, a graph as text, and print the text of what they make of it.

    'deltaport export --dump-dir' writes such files; they may be edited. '-' reads stdin.
    """
    check_installed(_NEEDED, doing="running passes", extra="export")
    from deltaport.graph_passes.dump import from_text, to_text
    from deltaport.graph_passes.pipeline import parse_pipeline

    from .console import write_text

    pipeline = parse_pipeline(passes)
    source = "standard input" if dump == "-" else dump
    text = read_text(dump, _SIZE_LIMIT + 1)
    if len(text.encode()) > _SIZE_LIMIT:
        raise InputError(f"{source}: larger than {_SIZE_LIMIT >> 20} MiB, no dump of a graph")
    model = from_text(text, source)
    before = to_text(model) if diff else ""
    try:
        model = pipeline(model, after=lambda run, _: None if quiet else _tell(run)).model
    except PassError as error:
        # Here the graph is the user's, and so is the order of the passes.
        raise InputError(f"{source}: {error}") from error
    result = to_text(model)
    if diff:
        result = _difference(before, result, source, pipeline)
    if output is None:
        write_text(result)
        return
    try:
        output.write_text(result, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{output}: cannot be written: {error.strerror}") from None


def _tell(run: PassRun) -> None:
    from .formatting import format_duration

    changed = f"{run.nodes_before:,} -> {run.nodes_after:,} nodes" if run.modified else "no change"
    click.echo(f"{run.text}: {changed} ({format_duration(run.seconds)})", err=True)


def _difference(before: str, after: str, source: str, pipeline: Pipeline) -> str:
    """Of the graphs, not of how the text was laid out."""
    import difflib

    lines = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        source,
        pipeline.text,
    )
    return "".join(lines)
