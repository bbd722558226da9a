"""What the passes of an export did: as plain JSON types, and as tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .console import print_table, write_text
from .formatting import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deltaport.exporter.compile_graph import Compilation
    from deltaport.graph_passes.node_counts import NodeCount

__all__ = ["compilation_facts", "print_compilation"]

_COUNTS = ("ours", "standard", "total")


def compilation_facts(compilation: Compilation) -> dict[str, Any]:
    """``passes``: the pipeline, and how each pass ran; ``nodes``: those of a layer, by kind."""
    return {
        "passes": {
            "pipeline": compilation.passes,
            "runs": [asdict(run) for run in compilation.runs],
        },
        "nodes": {
            "traced": _node_facts(compilation.before),
            "compiled": _node_facts(compilation.after),
        },
    }


def _node_facts(counts: Mapping[str, NodeCount]) -> dict[str, dict[str, int]]:
    return {
        kind: {
            "layers": count.layers,
            "ours": count.ours,
            "standard": count.other,
            "total": count.total,
        }
        for kind, count in counts.items()
    }


def print_compilation(facts: dict[str, Any]) -> None:
    """Nodes before and after all passes, and the time of those that changed the graph."""
    from deltaport.graph_passes.node_counts import ONCE

    nodes = facts["nodes"]
    write_text("\n")
    head = ("", "traced: ours", *_COUNTS[1:], "compiled: ours", *_COUNTS[1:])
    rows = [
        (
            kind if kind == ONCE else f"{row['layers']} x {kind}",
            *(f"{nodes['traced'][kind][what]}" for what in _COUNTS),
            *(f"{row[what]}" for what in _COUNTS),
        )
        for kind, row in nodes["compiled"].items()
    ]
    print_table("nodes of a layer", [head, *rows], numbers=2 * len(_COUNTS))
    if facts["passes"]["runs"]:
        write_text("\n")
        print_table("passes: nodes, time", _pass_rows(facts["passes"]["runs"]), numbers=2)


def _pass_rows(runs: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (run["text"], f"{run['nodes_before']:,} -> {run['nodes_after']:,}", _time([run]))
        for run in runs
        if run["modified"]
    ]
    if idle := [run for run in runs if not run["modified"]]:
        rows.append((f"{len(idle)} that changed nothing", "", _time(idle)))
    return rows


def _time(runs: list[dict[str, Any]]) -> str:
    return format_duration(sum(run["seconds"] for run in runs))
