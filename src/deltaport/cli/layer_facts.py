"""What ``inspect`` says of a plan's layers, as plain JSON types, and as tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from deltaport.errors import InputError
from deltaport.package import Manifest
from deltaport.package.plan_layers import PlanLayer, read_plan_layers
from deltaport.strict_json import one_line

from .console import print_table, write_text
from .formatting import plural
from .model_facts import Facts

__all__ = ["layer_facts", "print_layers"]

_DTYPES = {
    "FP32": "float32",
    "FLOAT": "float32",
    "FP16": "float16",
    "HALF": "float16",
    "BF16": "bfloat16",
    "BFLOAT16": "bfloat16",
    "FP8": "float8",
    "FP4": "float4",
} | {name: name.lower() for name in ("INT4", "INT8", "INT32", "INT64", "UINT8", "BOOL")}
"""What TensorRT calls the dtypes, in capitals."""
_WORD = re.compile(r"[A-Z0-9]+")


def layer_facts(folder: Path, manifest: Manifest, *, every: bool) -> Facts | None:
    """Layers of a plan by step and kind, and ``every`` one of them; None without a plan.

    ``untold`` says why there are none, after "layers are"; it is empty where there are. Raises
    ``InputError`` where every layer is asked for and none is known.
    """
    if manifest.plan is None:
        if every:
            raise InputError(f"--layers: {folder} has no plan of TensorRT's, so it has no layers")
        return None
    found = read_plan_layers(folder, manifest)
    if found is not None:
        untold = found.untold and f"not told by TensorRT: {found.untold}"
    elif manifest.plan.gpu == "this":
        untold = "not told when the plan was built"
    else:
        untold = "known only where a plan is built on the GPU it is for"
    if every and untold:
        raise InputError(f"--layers: {folder}: layers are {untold}")
    steps = {} if found is None else found.steps
    return {"untold": untold, "steps": [_step(*step, every=every) for step in steps.items()]}


def _step(name: str, layers: Iterable[PlanLayer], *, every: bool) -> Facts:
    kinds: dict[str, list[PlanLayer]] = {}
    for layer in layers:
        kinds.setdefault(layer.kind, []).append(layer)
    rows = [
        {
            "kind": kind,
            "layers": len(alike),
            "nodes": len({node for layer in alike for node in layer.nodes}),
            "outputs": dict(Counter(dtype for layer in alike for dtype in _dtypes(layer))),
        }
        for kind, alike in sorted(kinds.items(), key=lambda row: -len(row[1]))
    ]
    whole = {"layers": [_layer(layer) for layer in layers]} if every else {}
    return {"step": name, "kinds": rows} | whole


def _layer(layer: PlanLayer) -> Facts:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "outputs": _dtypes(layer),
        "nodes": list(layer.nodes),
        "tactic": layer.tactic,
    }


def _dtypes(layer: PlanLayer) -> list[str]:
    """Of each output, ``unknown`` where what TensorRT says of its format names none."""
    words = (_WORD.findall(text.upper()) for text in layer.outputs)
    return [next((_DTYPES[word] for word in each if word in _DTYPES), "unknown") for each in words]


def print_layers(layers: Facts) -> None:
    """A table of each step's kinds of layers, or of every layer where there are those."""
    for step in layers["steps"]:
        if not step["kinds"]:
            continue
        write_text("\n")
        if "layers" in step:
            _print_every(step)
        else:
            _print_kinds(step)


def _print_kinds(step: Facts) -> None:
    total = plural(sum(row["layers"] for row in step["kinds"]), "layer")
    print_table(
        f"{total} of {one_line(step['step'])}: kind, dtypes of outputs, layers, nodes of the graph "
        "in them",
        [
            (
                row["kind"] or "unknown",
                ", ".join(f"{count:,} {dtype}" for dtype, count in row["outputs"].items()),
                f"{row['layers']:,}",
                f"{row['nodes']:,}",
            )
            for row in step["kinds"]
        ],
        numbers=2,
    )


def _print_every(step: Facts) -> None:
    print_table(
        f"layers of {one_line(step['step'])}: kind, dtypes of outputs, nodes of the graph, name",
        [
            (
                row["kind"] or "unknown",
                ", ".join(row["outputs"]),
                f"{len(row['nodes']):,}",
                row["name"],
            )
            for row in step["layers"]
        ],
    )
