"""``deltaport run``: continue a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from deltaport.errors import CapacityError, InputError

from .options import (
    context_option,
    engine_argument,
    json_option,
    no_checksums_option,
    quiet_option,
    threads_option,
)
from .prompt import check_context, check_ids, parse_ids, read_prompt
from .run_statistics import RunStatistics
from .sampling_options import SamplingChoices, sampling_options, sampling_params

if TYPE_CHECKING:
    from deltaport.runtime import GeneratedToken

__all__ = ["run"]


@click.command(
    short_help="Continue a prompt with an engine folder.",
    epilog="""\b
Examples:
  deltaport run qwen.engine -p "Once upon a time" -n 64
  deltaport run qwen.engine -p "Once upon a time" --temperature 0.8 --top-p 0.9 --seed 7
  deltaport run qwen.engine -p - < prompt.txt > story.txt
  deltaport run qwen.engine --ids "1,2,3" --quiet
  deltaport run qwen.engine -p "2 + 2 =" -n 1 --json --logprobs 5
""",
)
@engine_argument
@click.option("-p", "--prompt", metavar="TEXT", help="Text to continue; '-' reads it from stdin.")
@click.option("--ids", metavar="IDS", help="Token ids to continue, separated by commas.")
@click.option(
    "-n",
    "--max-new-tokens",
    default=128,
    show_default=True,
    metavar="N",
    type=click.IntRange(min=1),
    help="Stop after so many tokens, if the model does not end before.",
)
@sampling_options
@click.option(
    "--logprobs",
    type=click.IntRange(min=0),
    metavar="N",
    help="With --json: the log-probability of every token, and the N most likely ones.",
)
@context_option
@threads_option
@no_checksums_option
@quiet_option
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    engine: Path,
    prompt: str | None,
    ids: str | None,
    max_new_tokens: int,
    sampling: SamplingChoices,
    logprobs: int | None,
    context: int | None,
    threads: int | None,
    no_checksums: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Continue a prompt with the ENGINE folder.

    Tokens are chosen as the checkpoint recommends: mostly it names a temperature, else it is
    greedy. Text appears as it is produced; with --ids, token ids do. Statistics go to stderr.
    """
    if (prompt is None) == (ids is None):
        raise click.UsageError("give either --prompt or --ids")
    if logprobs is not None and not as_json:
        raise click.UsageError("--logprobs are printed with --json only; add it")
    given = parse_ids(ids) if ids is not None else None
    text = read_prompt(prompt) if prompt is not None else ""

    from deltaport.runtime import Engine
    from deltaport.text import TOKENIZER_NAME, TextTokenizer

    from .console import waiting, write_json

    with waiting("loading the engine", quiet=quiet):
        opened = Engine.open(engine, threads=threads, checksums=not no_checksums)
        # Where there is none, loading it says so.
        tokenizer = (opened.tokenizer or TextTokenizer.load(engine)) if given is None else None
    tokens = tokenizer.encode(text) if tokenizer else given or []
    if not tokens:
        raise InputError("the prompt gives no tokens; give the model something to continue")
    check_ids(
        tokens,
        opened.manifest.vocab_size,
        source=str(engine / TOKENIZER_NAME) if tokenizer else "--ids",
    )
    check_context(context, opened.manifest.longest_context, source=engine)
    session = opened.session(context=context)
    if ctx.get_parameter_source("max_new_tokens") is ParameterSource.DEFAULT:
        max_new_tokens = max(1, min(max_new_tokens, session.context - len(tokens)))
    _check_fits(len(tokens), max_new_tokens, session.context, opened.manifest.longest_context)
    params = sampling_params(
        opened,
        sampling,
        max_new_tokens=max_new_tokens,
        logprobs=logprobs,
        detokenize=tokenizer is not None or bool(sampling.stop),
    )
    statistics = RunStatistics(len(tokens))
    events = statistics.timed(session.stream([tokens], params))
    if as_json:
        document = _document(
            list(events), statistics, decoded=tokenizer is not None, logprobs=logprobs is not None
        )
        write_json(document)
        return
    _print_pieces(events, as_text=tokenizer is not None)
    if not quiet:
        click.echo(statistics.summary(), err=True)


def _check_fits(prompt_tokens: int, max_new_tokens: int, context: int, most: int) -> None:
    """As the session checks, which does not know how the user asked."""
    wider = " or a higher --context" if context < most else ""
    needed = prompt_tokens + max_new_tokens
    if needed > context:
        raise CapacityError(
            f"a prompt of {prompt_tokens} tokens and {max_new_tokens} new ones need a context of "
            f"{needed}, it is {context}; shorten the prompt, or pass a lower "
            f"--max-new-tokens{wider}"
        )


def _print_pieces(events: Iterator[GeneratedToken], *, as_text: bool) -> None:
    """Print text, or else ids, as they come."""
    from .console import write_text

    separator = ""
    try:
        for event in events:
            write_text(event.text or "" if as_text else f"{separator}{event.token}")
            separator = ","
    finally:
        # The line ends however generation does, so that nothing is appended to the last word.
        if separator:
            write_text("\n")


def _document(
    events: list[GeneratedToken], statistics: RunStatistics, *, decoded: bool, logprobs: bool
) -> dict[str, Any]:
    """What ``--json`` prints. ``text`` is null for token ids, ``logprobs`` unless asked for."""
    from deltaport.runtime import Completion

    completion = Completion.of(events, decoded=decoded)
    scored = zip(completion.tokens, completion.logprobs, completion.top_logprobs, strict=True)
    return {
        "prompt_tokens": statistics.prompt_tokens,
        "tokens": completion.tokens,
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "logprobs": [
            {
                "token": token,
                "logprob": logprob,
                "top": [{"token": other, "logprob": theirs} for other, theirs in top],
            }
            for token, logprob, top in scored
        ]
        if logprobs
        else None,
        "timings": statistics.timings(),
    }
