"""``deltaport run``: continue a prompt greedily."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from deltaport.errors import CapacityError, InputError

from .prompt import check_ids, parse_ids, read_prompt

if TYPE_CHECKING:
    from deltaport.runtime import Session
    from deltaport.text import TextTokenizer

__all__ = ["run"]


@click.command(
    short_help="Continue a prompt with an engine folder.",
    epilog="""\b
Examples:
  deltaport run qwen.engine -p "Once upon a time" -n 64
  deltaport run qwen.engine -p - < prompt.txt > story.txt
  deltaport run qwen.engine --ids "1,2,3" --quiet
""",
)
@click.argument("engine", type=click.Path(path_type=Path))
@click.option("-p", "--prompt", metavar="TEXT", help="Text to continue; '-' reads it from stdin.")
@click.option("--ids", metavar="IDS", help="Token ids to continue, separated by commas.")
@click.option(
    "-n",
    "--max-new-tokens",
    default=128,
    show_default=True,
    type=click.IntRange(min=1),
    help="Stop after so many tokens, if the model does not end before.",
)
@click.option(
    "--context",
    type=click.IntRange(min=1),
    help="Most tokens the sequence may have. By default what the model allows.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Compute threads. By default one a core."
)
@click.option(
    "--no-checksums", is_flag=True, help="Start faster: do not compare files with the manifest."
)
@click.option("-q", "--quiet", is_flag=True, help="Print no statistics.")
@click.pass_context
def run(
    ctx: click.Context,
    engine: Path,
    prompt: str | None,
    ids: str | None,
    max_new_tokens: int,
    context: int | None,
    threads: int | None,
    no_checksums: bool,
    quiet: bool,
) -> None:
    """Continue a prompt with the ENGINE folder, greedily.

    Text appears as it is produced; with --ids, token ids do. Statistics go to stderr.
    """
    if (prompt is None) == (ids is None):
        raise click.UsageError("give either --prompt or --ids")
    given = parse_ids(ids) if ids is not None else None
    text = read_prompt(prompt) if prompt is not None else ""

    from deltaport.runtime import Engine
    from deltaport.text import TOKENIZER_NAME, TextTokenizer

    from .console import waiting

    with waiting("loading the engine", quiet=quiet):
        opened = Engine.open(engine, threads=threads, checksums=not no_checksums)
        tokenizer = TextTokenizer.load(engine) if given is None else None
    tokens = tokenizer.encode(text) if tokenizer else given or []
    if not tokens:
        raise InputError("the prompt gives no tokens; give the model something to continue")
    check_ids(
        tokens,
        opened.manifest.vocab_size,
        source=str(engine / TOKENIZER_NAME) if tokenizer else "--ids",
    )
    session = opened.session(context=context)
    if ctx.get_parameter_source("max_new_tokens") is ParameterSource.DEFAULT:
        max_new_tokens = max(1, min(max_new_tokens, session.context - len(tokens)))
    _check_fits(len(tokens), max_new_tokens, session.context)
    clock = _Clock()
    _generate(session, tokens, max_new_tokens, tokenizer, clock.tick)
    if not quiet:
        click.echo(clock.summary(len(tokens)), err=True)


def _check_fits(prompt_tokens: int, max_new_tokens: int, context: int) -> None:
    """As the session checks, which does not know how the user asked."""
    needed = prompt_tokens + max_new_tokens
    if needed > context:
        raise CapacityError(
            f"a prompt of {prompt_tokens} tokens and {max_new_tokens} new ones need a context of "
            f"{needed}, it is {context}; shorten the prompt, or pass a lower --max-new-tokens or "
            "a higher --context"
        )


def _generate(
    session: Session,
    tokens: list[int],
    max_new_tokens: int,
    tokenizer: TextTokenizer | None,
    tick: Callable[[], None],
) -> None:
    """Print text, or without a tokenizer ids, as they come."""
    from .console import write_text

    stream = tokenizer.stream() if tokenizer else None
    separator = ""

    def on_token(_: int, token: int) -> None:
        nonlocal separator
        tick()
        write_text(stream.push(token) if stream else f"{separator}{token}")
        separator = ","

    try:
        session.generate([tokens], max_new_tokens=max_new_tokens, on_token=on_token)
    finally:
        # The line ends however generation does, so that nothing is appended to the last word.
        if separator:
            write_text((stream.finish() if stream else "") + "\n")


class _Clock:
    """When tokens came: the first one ends the reading of the prompt."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._times: list[float] = []

    def tick(self) -> None:
        self._times.append(time.perf_counter())

    def summary(self, prompt_tokens: int) -> str:
        from .formatting import format_seconds, plural

        count = len(self._times)
        reading = self._times[0] - self._start
        line = f"{plural(prompt_tokens, 'prompt token')} in {format_seconds(reading)}"
        line += f" ({prompt_tokens / reading:.1f} tokens/s); {plural(count, 'new token')}"
        if count > 1:
            writing = self._times[-1] - self._times[0]
            line += f" in {format_seconds(reading + writing)}"
            line += f" ({(count - 1) / writing:.1f} tokens/s after the first)"
        return line
