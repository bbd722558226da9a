"""The command group: global options, and running a command line."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

import click

from deltaport.errors import InputError

from .bench_command import bench
from .chat_command import chat
from .completion_command import COMPLETE, completion
from .console import write_text
from .eval_command import evaluate
from .export_command import export
from .failures import Reporting
from .inspect_command import inspect
from .passes_command import passes
from .replay_command import replay
from .run_command import run
from .verify_command import verify

__all__ = ["group", "run_group"]


def run_group(args: Sequence[str], prog_name: str, reporting: Reporting) -> int:
    """Run a command line and return its exit status; mistakes in it raise ``InputError``.

    In place of ``group.main``, which would turn Ctrl-C and closed pipes into failures of its own.
    """
    if COMPLETE in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(group, {}, prog_name, COMPLETE, os.environ[COMPLETE])
    if not args:
        args = ["--help"]
    try:
        with group.make_context(prog_name, list(args), obj=reporting) as ctx:
            group.invoke(ctx)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as error:
        said = " ".join(error.format_message().split()).rstrip(".?")
        path = error.ctx.command_path if error.ctx else prog_name
        raise InputError(f"{said}; for help, run '{path} --help'") from None
    return 0


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from .versions import versions

    lines = [f"{name} {found or 'not installed'}" for name, found in versions().items()]
    write_text("\n".join(lines) + "\n")
    ctx.exit()


def _print_help(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """In place of click's own, which leaves a full disk behind ``>`` to somebody else."""
    if not wanted or ctx.resilient_parsing:
        return
    write_text(ctx.get_help() + "\n")
    ctx.exit()


@click.group(
    "deltaport",
    context_settings={"max_content_width": 100},
    epilog="""\b
Examples:
  deltaport inspect Qwen3.5-0.8B
  deltaport export Qwen3.5-0.8B -o qwen.engine
  deltaport run qwen.engine -p "Once upon a time"
  deltaport verify qwen.engine --against Qwen3.5-0.8B
  deltaport bench qwen.engine
""",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the versions of deltaport and what it builds on.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks and warnings when something fails.")
@click.pass_obj
def group(reporting: Reporting, debug: bool) -> None:
    """Compile Qwen3.5-family checkpoints into engines that run anywhere, faithfully."""
    reporting.debug = debug
    if not debug and not sys.warnoptions:
        # A user cannot act on what our dependencies warn each other of.
        warnings.simplefilter("ignore")


for _command in (
    export,
    run,
    chat,
    inspect,
    bench,
    completion,
    evaluate,
    verify,
    passes,
    replay,
):
    group.add_command(_command)
for _command in (group, *group.commands.values()):
    _command.params.append(
        click.Option(
            ["-h", "--help"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_help,
            help="Show this message and exit.",
        )
    )
