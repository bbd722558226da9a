"""The facts of ``facts.py`` as tables for people."""

from __future__ import annotations

from deltaport.strict_json import one_line

from .console import print_table, write_text
from .formatting import format_bytes, format_count, plural
from .layer_facts import print_layers
from .model_facts import Facts, model_of
from .wording import (
    describe_layers,
    describe_left_out,
    describe_mlp,
    describe_ops,
    describe_storage,
)

__all__ = ["print_facts", "print_quantization"]


def print_facts(facts: Facts) -> None:
    """Print all tables, then the notes."""
    print_table(f"{facts['path']}: {facts['kind']}", _overview(facts))
    write_text("\n")
    print_table(
        "weights: stored as, parameters, bits each, size, share", _role_rows(facts), numbers=4
    )
    if "engine" in facts:
        _print_engine(facts["engine"])
    write_text("\n")
    print_table(_memory_title(facts["memory"]), _memory_rows(facts["memory"]), numbers=1)
    for note in (*facts["notes"], *_memory_notes(facts)):
        write_text(f"\nnote: {note}\n")


def _overview(facts: Facts) -> list[tuple[str, ...]]:
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
        rows.append(("stored as", f"{describe_storage(held)}, {format_bytes(held['bytes'])}"))
        rows.append(("not exported", describe_left_out(held["not_exported"])))
    return rows


def _role_rows(facts: Facts) -> list[tuple[str, ...]]:
    roles = facts["roles"]
    total = {
        "role": "total",
        "dtype": "",
        "parameters": facts["parameters"]["total"],
        "bytes": sum(row["bytes"] for row in roles),
    }
    return [
        (
            row["role"],
            row["dtype"],
            format_count(row["parameters"]),
            f"{8 * row['bytes'] / row['parameters']:.4g}",
            format_bytes(row["bytes"]),
            f"{100 * row['bytes'] / total['bytes']:.1f} %",
        )
        for row in (*roles, total)
    ]


def print_quantization(quantization: Facts) -> None:
    """Each role's format, bits a weight and size, and what all of it cost if that was measured."""
    write_text("\n")
    whole = {
        "format": "",
        "bits_per_weight": quantization["bits_per_weight"],
        **{
            what: sum(row[what] for row in quantization["roles"].values())
            for what in ("parameters", "bytes")
        },
    }
    rows = [
        (
            role,
            row["format"],
            format_count(row["parameters"]),
            f"{row['bits_per_weight']:.2f}",
            format_bytes(row["bytes"]),
        )
        for role, row in (*quantization["roles"].items(), ("total", whole))
    ]
    title = f"quantized by {one_line(quantization['recipe'])}: weights, bits each, size"
    print_table(title, rows, numbers=3)
    if (loss := quantization["loss"]) is not None:
        write_text("\n")
        print_table(
            f"what that costs, on {plural(loss['tokens'], 'token')} of text",
            [
                (
                    "perplexity",
                    f"{loss['perplexity']:.4f}, {loss['reference_perplexity']:.4f} without: "
                    f"{100 * (loss['perplexity'] / loss['reference_perplexity'] - 1):+.2f} %",
                ),
                ("KL divergence", f"{loss['kl']:.4g} nats a token"),
                ("same token most likely", f"{100 * loss['top1']:.2f} %"),
            ],
        )


def _print_plan(plan: Facts, layers: Facts) -> None:
    write_text("\n")
    gpu = "the GPU it was built on" if plan["gpu"] == "this" else one_line(plan["gpu"])
    print_table(
        f"plan: {one_line(plan['file'])}",
        [
            ("built by", one_line(plan["builder"])),
            ("for", gpu),
            ("decode", f"{plan['slots']:,} sequences at most"),
            ("prefill", f"{plan['prefill_tokens']:,} tokens of one sequence at most"),
            ("caches", f"{plan['capacity']:,} tokens a sequence"),
            *([("layers", one_line(layers["untold"]))] if layers["untold"] else []),
        ],
    )
    print_layers(layers)


def _print_engine(engine: Facts) -> None:
    if engine["quantization"] is not None:
        print_quantization(engine["quantization"])
    if engine["plan"] is not None:
        _print_plan(engine["plan"], engine["plan_layers"])
    if engine["ops"] is not None:
        write_text("\n")
        print_table(
            f"graph: {plural(sum(row['nodes'] for row in engine['ops']), 'node')}",
            describe_ops(engine["ops"]),
        )
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


def _memory_title(memory: Facts) -> str:
    sequences, context = memory["sequences"], plural(memory["context"], "token")
    if memory["reserved"]:
        return f"memory for {plural(sequences, 'sequence')}, with room for {context} each"
    return f"memory for {plural(sequences, 'sequence')} of up to {context}"


def _memory_rows(memory: Facts) -> list[tuple[str, ...]]:
    state = memory["state"]
    rows = [
        (
            "weights, projections widened to float32"
            if memory["widened"]
            else "weights, as they are stored",
            memory["weights"],
        ),
        ("keys and values", state["kv"]),
        ("recurrent state and convolution windows", state["recurrent"] + state["conv"]),
        ("total", memory["total"]),
    ]
    return [(name, format_bytes(size)) for name, size in rows]


def _memory_notes(facts: Facts) -> list[str]:
    total, available = facts["memory"]["total"], facts["memory"]["available"]
    if available is None or total <= available:
        return []
    return [
        f"this machine has {format_bytes(available)} of memory to spare, less than the "
        f"{format_bytes(total)} needed"
    ]
