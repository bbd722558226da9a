"""What is the same about a model whatever it was read from, as plain JSON types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deltaport.exporter.model_size import (
    active_parameter_count,
    parameter_count,
    parameter_shapes,
    state_bytes_per_sequence,
    state_bytes_per_token,
)
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.weight_memory import stored_bytes
from deltaport.state_layout import StateLayout
from deltaport.weight_roles import role_of

from .memory_facts import Demand, Room, memory_facts

__all__ = ["Facts", "model_facts", "model_of"]

Facts = dict[str, Any]


def model_facts(
    kind: str,
    path: Path,
    spec: ModelSpec,
    dtypes: Mapping[str, str],
    layout: StateLayout,
    demand: Demand,
    *,
    as_stored: bool = False,
    room: Room | None = None,
) -> Facts:
    """Layers, sizes, state and memory of a model whose parameters are stored as ``dtypes``.

    ``as_stored``: which is how they are read, too. ``room``: what a plan has room for.
    """
    return {
        "kind": kind,
        "path": str(path),
        "model": spec.to_json(),
        "layers": {
            kind: len(spec.layers_of(kind)) for kind in ("linear_attention", "full_attention")
        },
        "parameters": {"total": parameter_count(spec), "active": active_parameter_count(spec)},
        "state": {
            "bytes_per_sequence": state_bytes_per_sequence(spec),
            "bytes_per_token": state_bytes_per_token(spec),
        },
        "max_positions": spec.max_positions,
        "roles": _role_facts(spec, dtypes),
        "memory": memory_facts(spec, layout, dtypes, demand, path, as_stored=as_stored, room=room),
        "notes": [],
    }


def _role_facts(spec: ModelSpec, dtypes: Mapping[str, str]) -> list[Facts]:
    """Parameters and bytes by role and dtype, the largest first."""
    rows: dict[tuple[str, str], Facts] = {}
    for name, shape in parameter_shapes(spec).items():
        role, dtype = role_of(name), dtypes[name]
        empty = {"role": role, "dtype": dtype, "tensors": 0, "parameters": 0, "bytes": 0}
        row = rows.setdefault((role, dtype), empty)
        row["tensors"] += 1
        row["parameters"] += math.prod(shape)
        row["bytes"] += stored_bytes(dtype, shape)
    return sorted(rows.values(), key=lambda row: -row["parameters"])


def model_of(facts: Facts) -> ModelSpec:
    """The specification the facts are about."""
    return ModelSpec.from_json(facts["model"], source=facts["path"])
