"""``docs/commands.md``: every command, argument and option, from the command line itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from deltaport.cli.chat_slash import _COMMANDS as SLASH_COMMANDS
from deltaport.cli.group import group
from tools.generate_docs.markdown import code, fence, generated, table

__all__ = ["commands_page", "every_command"]


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Commands by what one types, the group first and then by name."""
    yield "deltaport", group
    for name in sorted(group.commands):
        yield f"deltaport {name}", group.commands[name]


def commands_page() -> str:
    """The whole page."""
    listed = table(
        ("command", ""),
        (
            (f"[{typed}](#{typed.replace(' ', '-')})", command.short_help or "")
            for typed, command in every_command()
            if command is not group
        ),
    )
    parts = [
        generated("Commands", "src/deltaport/cli"),
        "Results go to stdout; progress, statistics and errors go to stderr. What exit statuses "
        "mean:\n[errors](errors.md#exit-status). `--help` of every command shows what is below.",
        listed,
        *(_section(typed, command) for typed, command in every_command()),
    ]
    return "\n\n".join(parts) + "\n"


def _section(typed: str, command: click.Command) -> str:
    arguments = [found for found in command.params if isinstance(found, click.Argument)]
    options = [found for found in command.params if isinstance(found, click.Option)]
    usage = [typed, "[OPTIONS]", *(_argument(argument) for argument in arguments)]
    if isinstance(command, click.Group):
        usage.append("COMMAND [ARGS]...")
    parts = [f"## {typed}", fence(" ".join(usage)), _quoted(inspect.cleandoc(command.help or ""))]
    parts.append(
        table(
            ("option", "", "default"),
            ((_spelling(found), _quoted(found.help or ""), _default(found)) for found in options),
        )
    )
    if typed == "deltaport chat":
        rows = ((code(found.usage), _quoted(found.meaning)) for found in SLASH_COMMANDS.values())
        parts += ["What may be typed beside questions:", table(("", ""), rows)]
        parts.append("`/quit`, `/exit` and Ctrl-D leave.")
    if command.epilog:
        lines = inspect.cleandoc(command.epilog.replace("\b", "")).splitlines()
        examples = [line.removeprefix("  ") for line in lines if line != "Examples:"]
        parts.append(fence("\n".join(examples), "sh"))
    return "\n\n".join(parts)


def _argument(argument: click.Argument) -> str:
    name = (argument.metavar or argument.name or "").upper()
    return name if argument.required else f"[{name}]"


def _spelling(option: click.Option) -> str:
    names = ", ".join(code(name) for name in (*option.opts, *option.secondary_opts))
    value = _value(option)
    needed = " (required)" if option.required else ""
    more = ", repeatable" if option.multiple else ""
    return names + (f" {code(value)}" if value else "") + needed + more


def _value(option: click.Option) -> str:
    """What an option takes, independent of how wide a terminal is."""
    if option.is_flag or option.count:
        return ""
    if isinstance(option.type, click.Choice):
        return "|".join(str(choice) for choice in option.type.choices)
    name = option.metavar or option.type.name.removesuffix(" range").upper()
    if not isinstance(option.type, click.IntRange | click.FloatRange):
        return name
    low, high = option.type.min, option.type.max
    above = "above" if option.type.min_open else "from"
    if low is not None and high is not None:
        return f"{name} {above} {low} to {high}"
    return f"{name} {above} {low}" if low is not None else name


def _default(option: click.Option) -> str:
    return code(str(option.default)) if option.show_default and not option.is_flag else ""


def _quoted(text: str) -> str:
    """What the terminal shows in quotes is code here; the rest must not be taken for markup."""
    return text.replace("<", r"\<").replace("*", r"\*").replace("|", r"\|")
