"""The toy engine of the runtime's tests, with a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx.parser

from deltaport.state_layout import StateLayout
from tests.runtime.toy_engine import GRAPH, write_toy
from tests.runtime.toy_variants import CACHE, RECURRENT
from tests.tensorrt.fake_plans import give_plan

__all__ = ["CAPACITY", "PREFILL_TOKENS", "write_planned_toy"]

PREFILL_TOKENS, CAPACITY = 64, 1216

# A recurrent state of 256 bytes, as rows that decode together have it; the toy's own is for one.
WIDE = 64
WIDE_GRAPH = GRAPH.replace(
    'float[batch,1] "', f'float[batch,{WIDE}] "'
).replace(
    'total = Add(running, "past.1.recurrent")',
    'before = Gather<axis = 1>("past.1.recurrent", axis_0)\n    total = Add(running, before)',
)  # fmt: skip
WIDE_LAYOUT = StateLayout((CACHE, replace(RECURRENT, shape=("slots", WIDE))))


def write_planned_toy(folder: Path, *, slots: int) -> Path:
    """The engine's folder; its plan takes that many rows at once."""
    graph = GRAPH if slots == 1 else WIDE_GRAPH
    changes: dict[str, Any] = {} if slots == 1 else {"state": WIDE_LAYOUT}
    engine = write_toy(
        folder / "engine", graph=graph, target="tensorrt-plain", ragged=False, **changes
    )
    sizes = {"slots": slots, "prefill_tokens": PREFILL_TOKENS, "capacity": CAPACITY}
    give_plan(engine, onnx.parser.parse_model(graph), **sizes)
    return engine
