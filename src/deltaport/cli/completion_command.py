"""``deltaport completion``: a script that teaches a shell to complete commands and options."""

from __future__ import annotations

import os
from pathlib import PurePath

import click

__all__ = ["COMPLETE", "completion"]

COMPLETE = "_DELTAPORT_COMPLETE"
"""The variable by which a shell asks for completions."""

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    short_help="Print a script that completes commands and options in a shell.",
    epilog="""\b
Examples:
  deltaport completion bash
  eval "$(deltaport completion bash)"                          # in ~/.bashrc
  eval "$(deltaport completion zsh)"                           # in ~/.zshrc, after compinit
  deltaport completion fish > ~/.config/fish/completions/deltaport.fish
""",
)
@click.argument("shell", required=False, type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> None:
    """Print the completion script of SHELL, by default that of $SHELL.

    It completes commands, options, their values, and paths. Have the shell run it when it starts,
    as in the examples.
    """
    from click.shell_completion import get_completion_class

    from .console import write_text

    shell = shell or _shell_of_user(ctx)
    script_for = get_completion_class(shell)
    assert script_for is not None, "click completes the shells on offer"
    root = ctx.find_root()
    script = script_for(root.command, {}, "deltaport", COMPLETE)
    # In place of source(), which starts bash to ask for its version.
    write_text(script.source_template % script.source_vars() + "\n")


def _shell_of_user(ctx: click.Context) -> str:
    name = PurePath(os.environ.get("SHELL", "")).name
    if name not in _SHELLS:
        found = f"$SHELL is {name!r:.40}" if name else "$SHELL is not set"
        raise click.UsageError(f"{found}; name one of {', '.join(_SHELLS)}", ctx)
    return name
