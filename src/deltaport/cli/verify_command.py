"""``deltaport verify``: an engine against the checkpoint it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from deltaport.strict_json import one_line

from .installed import check_installed
from .options import (
    accept_fields_option,
    engine_argument,
    json_option,
    no_checksums_option,
    quiet_option,
    threads_option,
)
from .paths import check_exported
from .prompt import parse_ids, read_prompt

if TYPE_CHECKING:
    from deltaport.runtime.engine import Device
    from deltaport.verify.open_oracle import OracleKind

__all__ = ["verify"]

_NEEDED = ("ml_dtypes", "onnx", "torch")
"""What the extra ``deltaport[verify]`` installs and every verification imports."""
_DIFFERS = 3
"""The exit status that says: compared, and found to differ."""


@click.command(
    short_help="Compare an engine with the checkpoint it was made from.",
    epilog="""\b
Examples:
  deltaport verify qwen.engine --against Qwen3.5-0.8B
  deltaport verify qwen.engine --against Qwen3.5-0.8B --layers --plot drift.png
  deltaport verify qwen.engine --against Qwen3.5-0.8B --text "Once upon a time" --json
  deltaport verify qwen.engine --against Qwen3.5-0.8B --passes-prefix 12
""",
)
@engine_argument
@click.option(
    "--against",
    required=True,
    metavar="CHECKPOINT",
    type=click.Path(path_type=Path),
    help="The checkpoint folder the engine was made from.",
)
@click.option("--text", metavar="TEXT", help="Text to compare on; '-' reads it from stdin.")
@click.option("--ids", metavar="IDS", help="Token ids to compare on, separated by commas.")
@click.option(
    "-n",
    "--tokens",
    default=32,
    show_default=True,
    metavar="N",
    type=click.IntRange(min=0),
    help="Continue every prompt greedily by so many tokens.",
)
@click.option(
    "--oracle",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "transformers", "eager"]),
    help="What says what is right: transformers, or the modules engines are traced from. 'auto' "
    "takes transformers where it is installed.",
)
@click.option(
    "--unrounded",
    is_flag=True,
    help="Where the engine stores matrices narrower than the checkpoint, compare with those of the "
    "checkpoint all the same: shows what rounding them costs, and allows for it.",
)
@click.option("--layers", is_flag=True, help="Look inside, and say where the engine departs.")
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Draw the errors of --layers, which this implies, as a PNG picture.",
)
@click.option(
    "--passes-prefix",
    metavar="N",
    type=click.IntRange(min=0),
    help="To find the graph pass that breaks an engine: compare one that is exported from the "
    "checkpoint, in a temporary folder, with the first N passes of the engine's target alone. "
    "'deltaport passes' lists them.",
)
@threads_option
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="Where the engine runs. By default on a GPU if it was made for one and onnxruntime can "
    "use it, else on the CPU.",
)
@no_checksums_option
@accept_fields_option
@json_option
@quiet_option
@click.pass_context
def verify(
    ctx: click.Context,
    engine: Path,
    against: Path,
    text: str | None,
    ids: str | None,
    tokens: int,
    oracle: str,
    unrounded: bool,
    layers: bool,
    plot: Path | None,
    passes_prefix: int | None,
    threads: int | None,
    device: str | None,
    no_checksums: bool,
    accept_fields: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Compare the ENGINE folder with the checkpoint it was made from.

    Runs built-in prompts, or your own, through both: whole, cut into chunks, and token by token as
    they are continued. The checkpoint is computed in float32, which takes four bytes a parameter;
    oracle and engine are in memory one after the other. Exits with 0 if they are equal within
    tolerance, with 3 if they differ.
    """
    if text is not None and ids is not None:
        raise click.UsageError("give either --text or --ids")
    given = parse_ids(ids) if ids is not None else None
    prompt = read_prompt(text) if text is not None else None
    check_exported(against)
    check_installed(_NEEDED, doing="verifying", extra="verify")
    if plot is not None:
        from deltaport.verify.drift_plot import check_plot

        check_plot(plot)

    from rich.progress import MofNCompleteColumn

    from deltaport.verify import VerifyEvents, verify_engine

    from .stage_progress import StageProgress
    from .verify_tables import print_report

    with StageProgress(MofNCompleteColumn(), quiet=quiet) as progress:
        report = verify_engine(
            engine,
            against,
            text=prompt,
            ids=given,
            layers=layers or plot is not None,
            unrounded=unrounded,
            oracle=cast("OracleKind", oracle),
            new_tokens=tokens,
            prefix=passes_prefix,
            threads=threads,
            device=cast("Device | None", device),
            checksums=not no_checksums,
            accept_fields=accept_fields,
            events=VerifyEvents(progress.begin, progress.expect, progress.advance),
        )
    if as_json:
        from .console import write_json

        write_json(report.to_json())
    else:
        print_report(report)
    if plot is not None:  # last: a disk that is full by now takes nothing but the picture
        from deltaport.verify.drift_plot import draw

        draw(report, plot)
        if not quiet:
            click.echo(f"{one_line(str(plot))} written", err=True)
    if not report.equal:
        ctx.exit(_DIFFERS)
