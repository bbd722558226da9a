"""Options that several commands share, so that they are named and explained the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from deltaport.threads import most_threads

__all__ = [
    "accept_fields_option",
    "context_option",
    "engine_argument",
    "json_option",
    "no_checksums_option",
    "passes_option",
    "quiet_option",
    "threads_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])


def engine_argument(command: Command) -> Command:
    """``ENGINE``: the engine folder, as ``engine``."""
    return click.argument("engine", type=click.Path(path_type=Path))(command)


def threads_option(command: Command) -> Command:
    """``--threads``, as ``threads``."""
    return click.option(
        "--threads",
        metavar="N",
        type=click.IntRange(min=1),
        callback=_check_threads,
        help="Compute threads. By default one a core.",
    )(command)


def _check_threads(_: click.Context, __: click.Parameter, threads: int | None) -> int | None:
    if threads is not None and threads > most_threads():
        raise click.BadParameter(
            f"{threads} is more than this machine can use; expected 1 to {most_threads()}"
        )
    return threads


def context_option(command: Command) -> Command:
    """``--context``, as ``context``."""
    return click.option(
        "--context",
        metavar="N",
        type=click.IntRange(min=1),
        help="Most tokens a sequence may have. By default what the model allows; memory is taken "
        "as tokens come.",
    )(command)


def no_checksums_option(command: Command) -> Command:
    """``--no-checksums``, as ``no_checksums``."""
    return click.option(
        "--no-checksums",
        is_flag=True,
        help="Start faster: do not compare files with the manifest.",
    )(command)


def passes_option(*, required: bool, meaning: str) -> Callable[[Command], Command]:
    """``--passes``, as ``passes``; its help begins with ``meaning``."""
    return click.option(
        "--passes",
        metavar="TEXT",
        required=required,
        help=f"{meaning} Names separated by commas, options in braces: "
        "'fold-constants{max-bytes=1024},fuse-projections'. 'deltaport passes' lists them.",
    )


def quiet_option(command: Command) -> Command:
    """``--quiet``, as ``quiet``."""
    return click.option(
        "-q", "--quiet", is_flag=True, help="Print nothing but results and errors."
    )(command)


def json_option(command: Command) -> Command:
    """``--json``, as ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, for other programs to read."
    )(command)


def accept_fields_option(command: Command) -> Command:
    """``--accept-config-field``, as the tuple ``accept_fields``."""
    return click.option(
        "--accept-config-field",
        "accept_fields",
        multiple=True,
        metavar="NAME",
        help="Ignore a field of config.json that deltaport does not know. Repeat for several.",
    )(command)
