"""The command group: global options, and one place where every failure is reported."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import click

from deltaport import __version__

from .export_command import export
from .failures import report_failures
from .inspect_command import inspect
from .run_command import run

__all__ = ["main"]

_COMPANIONS = ("onnxruntime", "onnx", "torch")
"""Packages whose versions decide what an engine looks like and how it runs."""


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        with report_failures(debug=ctx.params["debug"]):
            return super().invoke(ctx)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    click.echo(f"deltaport {__version__}")
    for name in _COMPANIONS:
        try:
            found = metadata.version(name)  # reads a text file: importing torch takes seconds
        except metadata.PackageNotFoundError:
            found = "not installed"
        click.echo(f"{name} {found}")
    ctx.exit()


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Example:
  deltaport inspect Qwen3.5-0.8B
  deltaport export Qwen3.5-0.8B -o qwen.engine
  deltaport run qwen.engine -p "Once upon a time"
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
def main(debug: bool) -> None:
    """Compile Qwen3.5-family checkpoints into engines that run anywhere, faithfully."""


main.add_command(export)
main.add_command(run)
main.add_command(inspect)
