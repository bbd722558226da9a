"""``deltaport inspect``: what a checkpoint, a configuration or an engine holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from .facts import Facts

__all__ = ["inspect"]


@click.command(
    short_help="Show what a checkpoint, a config.json or an engine holds.",
    epilog="""\b
Examples:
  deltaport inspect Qwen3.5-0.8B
  deltaport inspect config.json
  deltaport inspect qwen.engine --json
""",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs to read.")
@click.option(
    "--accept-config-field",
    "accept_fields",
    multiple=True,
    metavar="NAME",
    help="Ignore a field of config.json that deltaport does not know. Repeat for several.",
)
def inspect(path: Path, as_json: bool, accept_fields: tuple[str, ...]) -> None:
    """Show layers, sizes and state of PATH: a checkpoint folder, a config.json alone, or an engine.

    Nothing is computed and nothing but headers is read, so this is quick for any model. Files of
    an engine are checked for their sizes, not their contents; 'run' does that.
    """
    from .facts import gather

    facts = gather(path, accept_fields=accept_fields)
    if as_json:
        import json

        from .console import write_text

        write_text(json.dumps(facts, indent=2) + "\n")
    else:
        _print(facts)


def _print(facts: Facts) -> None:
    from .console import print_table, write_text

    print_table(f"{facts['path']} ({facts['kind']})", _overview(facts))
    write_text("\n")
    print_table("weights: parameters, size, share", _role_rows(facts), numbers=3)
    if "engine" in facts:
        _print_engine(facts["engine"])
    for note in facts["notes"]:
        write_text(f"\nnote: {note}\n")


def _role_rows(facts: Facts) -> list[tuple[str, ...]]:
    from .formatting import format_bytes, format_count

    roles = facts["roles"]
    total = {
        "role": "total",
        "parameters": facts["parameters"]["total"],
        "bytes": sum(row["bytes"] for row in roles),
    }
    return [
        (
            row["role"],
            format_count(row["parameters"]),
            format_bytes(row["bytes"]),
            f"{100 * row['bytes'] / total['bytes']:.1f} %",
        )
        for row in (*roles, total)
    ]


def _overview(facts: Facts) -> list[tuple[str, ...]]:
    from .facts import model_of
    from .formatting import format_bytes, format_count
    from .wording import describe_layers, describe_left_out, describe_mlp

    spec, state, parameters = model_of(facts), facts["state"], facts["parameters"]
    per_sequence, per_token = state["bytes_per_sequence"], state["bytes_per_token"]
    full = format_bytes(per_sequence + per_token * facts["max_positions"])
    rows: list[tuple[str, ...]] = [
        ("model", spec.model_type),
        ("layers", describe_layers(spec).partition(" layers: ")[2] or describe_layers(spec)),
        ("mlp", describe_mlp(spec)),
        (
            "parameters",
            f"{format_count(parameters['total'])}, "
            f"{format_count(parameters['active'])} active a token",
        ),
        ("positions", f"{facts['max_positions']:,}"),
        (
            "state",
            f"{format_bytes(per_sequence)} a sequence and {format_bytes(per_token)} a token: "
            f"{full} when full",
        ),
    ]
    if "checkpoint" in facts:
        held = facts["checkpoint"]
        rows.append(("stored as", f"{', '.join(held['dtypes'])}, {format_bytes(held['bytes'])}"))
        rows.append(("not for engines", describe_left_out(held["not_exported"])))
    if "engine" in facts:
        held = facts["engine"]
        rows.append(("target", f"{held['target']} (by deltaport {held['deltaport_version']})"))
        rows.append(("stored as", f"{held['dtype']}, {format_bytes(held['bytes'])}"))
        rows.append(("not exported", describe_left_out(held["not_exported"])))
    return rows


def _print_engine(engine: Facts) -> None:
    from .console import print_table, write_text
    from .formatting import format_bytes

    write_text("\n")
    print_table(
        "files",
        [(row["path"], format_bytes(row["bytes"])) for row in engine["files"]],
        numbers=1,
    )
    write_text("\n")
    print_table(
        "state tensors",
        [
            (
                f"{row['tensors']} x {row['kind']}",
                f"[{', '.join(str(size) for size in row['shape'])}]",
                row["update"].replace("_", " "),
            )
            for row in engine["state"]
        ],
    )
