"""``deltaport bench``: how fast an engine is on this machine, and what limits it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import (
    context_option,
    engine_argument,
    json_option,
    no_checksums_option,
    quiet_option,
    threads_option,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deltaport.bench.measure import Result
    from deltaport.bench.spread import Spread
    from deltaport.exporter.model_spec import ModelSpec
    from deltaport.runtime import Engine

__all__ = ["bench"]


@click.command(
    short_help="Measure how fast an engine reads and writes.",
    epilog="""\b
Examples:
  deltaport bench qwen.engine
  deltaport bench qwen.engine --prompt-tokens 4096 --new-tokens 256 --repeat 9
  deltaport bench qwen.engine --sequences 8 --threads 4 --json
""",
)
@engine_argument
@click.option(
    "--prompt-tokens",
    default=512,
    show_default=True,
    metavar="N",
    type=click.IntRange(min=1),
    help="Tokens each sequence is given to read.",
)
@click.option(
    "--new-tokens",
    default=64,
    show_default=True,
    metavar="N",
    type=click.IntRange(min=2),
    help="Tokens each sequence writes.",
)
@click.option(
    "--repeat",
    default=5,
    show_default=True,
    metavar="N",
    type=click.IntRange(min=1),
    help="Rounds that count. One more comes first, to warm up.",
)
@click.option(
    "--sequences",
    default=1,
    show_default=True,
    metavar="N",
    type=click.IntRange(min=1),
    help="Sequences side by side, which share every step.",
)
@context_option
@threads_option
@no_checksums_option
@quiet_option
@json_option
def bench(
    engine: Path,
    prompt_tokens: int,
    new_tokens: int,
    repeat: int,
    sequences: int,
    context: int | None,
    threads: int | None,
    no_checksums: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure the ENGINE folder on this machine: prefill, decode, memory.

    A round opens a session, reads a prompt of random tokens and writes on from it. Figures are
    medians over the rounds, and behind them the quartiles, between which half of the rounds lie;
    those of a decode step are over all steps, and leave out the few that something else delays.

    Decoding is limited by how fast memory is read. The bytes read per token are computed: active
    weights as the engine reads them (as stored, but for projections that are widened; a step reads
    them once for all its sequences), the state of the linear layers, keys and values of all tokens
    before. Their share is that of the bandwidth this machine was measured to have; that of a GPU
    is not measured.
    """
    from rich.progress import MofNCompleteColumn

    from deltaport.bench.measure import BenchEvents, measure
    from deltaport.bench.rounds import Load

    from .console import write_json
    from .stage_progress import StageProgress
    from .versions import versions

    load = Load(prompt_tokens, new_tokens, sequences, context)
    with StageProgress(MofNCompleteColumn(), quiet=quiet) as progress:
        result = measure(
            engine,
            load,
            dtypes_of=_dtypes_of,
            repeat=repeat,
            threads=threads,
            checksums=not no_checksums,
            events=BenchEvents(progress.begin, progress.expect, progress.advance),
        )
    if as_json:
        write_json({"engine": str(engine), **result.to_json(), "versions": versions()})
    else:
        _print(engine, result)


def _dtypes_of(engine: Engine, spec: ModelSpec) -> Mapping[str, str]:
    from .graph_facts import facts_of_engine

    return facts_of_engine(engine.folder, engine.manifest, spec).dtypes


def _print(engine: Path, result: Result) -> None:
    from .console import print_table, write_text
    from .formatting import format_duration, format_rate, plural

    load = result.load
    threads = "a thread a core" if result.threads is None else plural(result.threads, "thread")
    where = "on the GPU" if result.on_gpu else threads
    print_table(
        f"{engine}: {plural(load.sequences, 'sequence')} of {load.prompt_tokens:,} + "
        f"{plural(load.new_tokens, 'token')}, {where}, {plural(len(result.rounds), 'round')}",
        [
            ("time to first token", *_cells(result.first_token, format_duration)),
            ("prefill, tokens/s", *_cells(result.prefill, format_rate)),
            ("decode, tokens/s", *_cells(result.decode, format_rate)),
            ("decode step", *_cells(result.step, format_duration)),
        ],
        numbers=2,
    )
    write_text("\n")
    print_table("memory", _memory_rows(result))
    for note in result.notes():
        write_text(f"\nnote: {note}\n")


def _cells(spread: Spread, form: Callable[[float], str]) -> tuple[str, str]:
    """Median, and the quartiles."""
    return form(spread.median), f"{form(spread.lower)} to {form(spread.upper)}"


def _memory_rows(result: Result) -> list[tuple[str, ...]]:
    from .formatting import format_bytes, format_seconds

    memory, traffic = result.memory, result.traffic
    peak = f"at most {format_bytes(memory.peak)}"
    parts = {"weights": traffic.weights, "state": traffic.state, "keys and values": traffic.kv}
    read = ", ".join(f"{name} {format_bytes(round(size))}" for name, size in parts.items())
    rate = f"{format_bytes(round(result.read_rate))}/s"
    if result.bandwidth is not None and result.share is not None:
        machine = format_bytes(round(result.bandwidth))
        rate += f", {100 * result.share:.0f} % of the {machine}/s this machine was measured to have"
    return [
        ("loading", format_seconds(result.load_seconds)),
        (
            "resident",
            peak if memory.resident is None else f"{format_bytes(memory.resident)}, {peak}",
        ),
        ("read per token", f"{format_bytes(round(traffic.total))}: {read}"),
        ("read rate", rate),
    ]
