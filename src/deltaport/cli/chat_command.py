"""``deltaport chat``: talk with an engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import (
    context_option,
    engine_argument,
    no_checksums_option,
    quiet_option,
    threads_option,
)
from .prompt import check_context
from .sampling_options import SamplingChoices, sampling_options

if TYPE_CHECKING:
    from deltaport.chat import ChatSession

__all__ = ["chat"]


@click.command(
    short_help="Talk with an engine.",
    epilog="""\b
Examples:
  deltaport chat qwen.engine
  deltaport chat qwen.engine --system "Answer in rhymes." --no-thinking
  deltaport chat qwen.engine --greedy -n 200 < questions.txt > answers.txt
""",
)
@engine_argument
@click.option("--system", metavar="TEXT", default="", help="What the model is told beforehand.")
@click.option(
    "--thinking/--no-thinking",
    default=None,
    help="Have the model reason before it answers, or not, if its template lets one choose.",
)
@click.option(
    "-n",
    "--max-new-tokens",
    metavar="N",
    type=click.IntRange(min=1),
    help="End an answer after so many tokens, reasoning included. By default the context does.",
)
@sampling_options
@context_option
@threads_option
@no_checksums_option
@quiet_option
def chat(
    engine: Path,
    system: str,
    thinking: bool | None,
    max_new_tokens: int | None,
    sampling: SamplingChoices,
    context: int | None,
    threads: int | None,
    no_checksums: bool,
    quiet: bool,
) -> None:
    """Talk with the model of the ENGINE folder, in the form its own chat template prescribes.

    Type a question, or /help. On a terminal, reasoning is shown dim and tokens per second follow
    each answer. Where stdin is no terminal, every line of it is a question, or a command if it
    begins with a slash; where stdout is none, it gets the answers alone.
    """
    from .chat_loop import talk
    from .console import waiting
    from .sampling_options import sampling_params

    with waiting("loading the engine", quiet=quiet):
        session = _open(engine, context=context, threads=threads, checksums=not no_checksums)
    if thinking is not None:
        session.variables["enable_thinking"] = thinking
    session.conversation.system = system
    params = sampling_params(session.engine, sampling, max_new_tokens=max_new_tokens)
    with session.template:
        talk(session, params, quiet=quiet)


def _open(
    engine: Path, *, context: int | None, threads: int | None, checksums: bool
) -> ChatSession:
    """Everything that can be wrong with the folder comes up here."""
    from deltaport.chat import ChatSession, ChatTemplate
    from deltaport.runtime import Engine

    opened = Engine.open(engine, threads=threads, checksums=checksums)
    check_context(context, opened.manifest.longest_context, source=engine)
    template = ChatTemplate.load(engine)
    template.check()
    return ChatSession(opened, template, context=context)
