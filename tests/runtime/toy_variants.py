"""Toy engines of all kinds that a session treats in a way of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from deltaport.runtime import Engine
from deltaport.state_layout import StateLayout
from tests.runtime.toy_engine import GRAPH, LAYOUT, write_toy

__all__ = ["VARIANTS", "WIDE_VARIANT", "open_toy"]

CACHE, RECURRENT = LAYOUT.tensors

# Columns of a whole page, so that a few dozen tokens are moved by their pages.
WIDE = 1024
WIDE_GRAPH = (
    GRAPH.replace("[batch,1,capacity,1]", f"[batch,1,capacity,{WIDE}]")
    .replace("x_new = Unsqueeze(embedded, x_axes)",
             "x_one = Unsqueeze(embedded, x_axes)\n    x_new = Expand(x_one, wide)")
    .replace('cache = Reshape("present.0.key", columns_only)',
             'cache_one = Gather<axis = 3>("present.0.key", zero)\n'
             "    cache = Reshape(cache_one, columns_only)")
    .replace("int64 zero = {0},", f"int64 zero = {{0}}, int64[4] wide = {{1, 1, 1, {WIDE}}},")
)  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "caches that double": {},
    "caches reserved whole": {"target": "ort-cpu"},
    "no ragged steps": {"ragged": False},
    "caches that are swapped": {"state": StateLayout((replace(CACHE, update="swap"), RECURRENT))},
}
WIDE_VARIANT: dict[str, Any] = {
    "graph": WIDE_GRAPH,
    "target": "ort-cpu",
    "state": StateLayout((replace(CACHE, shape=("slots", 1, "capacity", WIDE)), RECURRENT)),
}


def open_toy(folder: Path, **changes: Any) -> Engine:
    return Engine.open(write_toy(folder / "engine", **changes), threads=1)
