"""``layers.json``: what TensorRT made of the graph's nodes, as it told when it built the plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from deltaport.errors import EngineError
from deltaport.strict_json import JsonProblem, parse_object, quote

from .bounded_file import read_bounded
from .manifest import Manifest

__all__ = ["LAYERS_LIMIT", "LAYERS_NAME", "PlanLayer", "PlanLayers", "read_plan_layers"]

LAYERS_NAME = "layers.json"
LAYERS_LIMIT = 64 << 20
"""Bytes the file may have: far above any real one, far below what would hurt to parse."""


@dataclass(frozen=True)
class PlanLayer:
    """One layer of a plan, in TensorRT's words.

    ``outputs``: format and dtype of each. ``nodes``: the nodes of the graph that are in it.
    ``tactic``: the kernel that runs it; empty where none was told.
    """

    name: str
    kind: str
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]
    tactic: str


@dataclass(frozen=True)
class PlanLayers:
    """The layers of each kind of step by its name; or why they are ``untold``."""

    steps: Mapping[str, tuple[PlanLayer, ...]]
    untold: str = ""

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read_plan_layers(folder: Path, manifest: Manifest) -> PlanLayers | None:
    """The layers of an engine's plan; None where it has no such file.

    The file is untrusted: raises ``EngineError`` for one that is not what an export writes.
    """
    if manifest.plan is None or LAYERS_NAME not in (entry.path for entry in manifest.files):
        return None
    path, remedy = folder / LAYERS_NAME, "export the engine again"
    data = read_bounded(path, LAYERS_LIMIT, too_large=f"; {remedy}", remedy=remedy)
    try:
        return _plan_layers(parse_object(data or b""))
    except JsonProblem as problem:
        raise EngineError(f"{path}: {problem}; {remedy}") from None


def _plan_layers(document: dict[str, Any]) -> PlanLayers:
    _check_fields("the file", document, PlanLayers)
    steps, untold = document["steps"], document["untold"]
    if not isinstance(untold, str):
        raise JsonProblem(f"untold is {quote(untold)}, expected text")
    if not isinstance(steps, dict) or not all(isinstance(rows, list) for rows in steps.values()):
        raise JsonProblem(f"steps is {quote(steps)}, expected a list of layers for each step")
    return PlanLayers(
        {
            step: tuple(_layer(row, f"layer {i} of {quote(step)}") for i, row in enumerate(rows))
            for step, rows in steps.items()
        },
        untold,
    )


def _layer(row: object, where: str) -> PlanLayer:
    found = _check_fields(where, row, PlanLayer)
    for field in fields(PlanLayer):
        value = found[field.name]
        if field.type == "str":
            if not isinstance(value, str):
                raise JsonProblem(f"{where}: {field.name} is {quote(value)}, expected text")
        elif not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise JsonProblem(f"{where}: {field.name} is {quote(value)}, expected texts")
        else:
            found[field.name] = tuple(value)
    return PlanLayer(**found)


def _check_fields(where: str, row: object, kind: type[PlanLayers | PlanLayer]) -> dict[str, Any]:
    names = [field.name for field in fields(kind)]
    if not isinstance(row, dict) or set(row) != set(names):
        raise JsonProblem(f"{where}: expected the fields {', '.join(names)}")
    return row
