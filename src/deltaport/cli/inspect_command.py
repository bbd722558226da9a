"""``deltaport inspect``: what a checkpoint, a configuration or an engine holds and needs."""

from __future__ import annotations

from pathlib import Path

import click

from .options import accept_fields_option, json_option

__all__ = ["inspect"]


@click.command(
    short_help="Show what a checkpoint, a config.json or an engine holds and needs.",
    epilog="""\b
Examples:
  deltaport inspect Qwen3.5-0.8B
  deltaport inspect config.json
  deltaport inspect qwen.engine --context 32768 --sequences 4
  deltaport inspect qwen.trt --layers
  deltaport inspect qwen.engine --json
""",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--context",
    metavar="N",
    type=click.IntRange(min=1),
    help="Tokens a sequence may have, to tell the memory for. By default 4,096, or fewer where "
    "the model takes fewer. A plan of TensorRT's has room for as many as it was built for.",
)
@click.option(
    "--sequences",
    metavar="N",
    type=click.IntRange(min=1),
    help="Sequences side by side, to tell the memory for. By default 1, or as many as "
    "decode together in a plan of TensorRT's.",
)
@click.option(
    "--layers",
    is_flag=True,
    help="Show every layer of the plan of a TensorRT engine, not how many of each kind there are.",
)
@json_option
@accept_fields_option
def inspect(
    path: Path,
    context: int | None,
    sequences: int | None,
    layers: bool,
    as_json: bool,
    accept_fields: tuple[str, ...],
) -> None:
    """Show layers, sizes, state and memory of PATH.

    PATH is a checkpoint folder, a config.json alone, or an engine. Nothing is computed and nothing
    but headers is read, so this is quick for any model. Files of an engine are checked for their
    sizes, not their contents; 'run' does that.

    The memory is that of weights, and of state when every sequence is full; what a step computes
    and the libraries come on top.
    """
    from .facts import gather
    from .memory_facts import Demand

    demand = Demand(context, sequences)
    facts = gather(path, accept_fields=accept_fields, demand=demand, layers=layers)
    if as_json:
        from .console import write_json

        write_json(facts)
    else:
        from .fact_tables import print_facts

        print_facts(facts)
