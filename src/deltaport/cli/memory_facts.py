"""What a context and a number of sequences need in memory, and whether the machine has it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltaport.errors import InputError
from deltaport.exporter.model_spec import ModelSpec
from deltaport.exporter.weight_memory import resident_weight_bytes
from deltaport.state_layout import StateLayout

from .prompt import check_context

__all__ = ["DEFAULT_CONTEXT", "Demand", "Room", "memory_facts"]

DEFAULT_CONTEXT = 4096
"""Tokens a sequence has unless the user says otherwise, or fewer where the model takes fewer."""

_MOST_BYTES = 10**21
"""Far above any machine, far below what numbers for people, and for JSON, can hold."""


@dataclass(frozen=True)
class Room:
    """What a plan of TensorRT's was built for: caches of ``tokens``, ``sequences`` in a step.

    All of that is on the GPU, however many tokens a sequence has.
    """

    sequences: int
    tokens: int


@dataclass(frozen=True)
class Demand:
    """What the user wants to run: ``sequences`` of up to ``context`` tokens."""

    context: int | None = None
    sequences: int | None = None

    def sizes(self, spec: ModelSpec, source: Path, room: Room | None) -> tuple[int, int]:
        """Sequences, and tokens each; ``InputError`` for more of these than there may be."""
        if room is None:
            check_context(self.context, spec.max_positions, source=source)
            return self.sequences or 1, self.context or min(DEFAULT_CONTEXT, spec.max_positions)
        check_context(self.context, room.tokens, source=source)
        return self.sequences or room.sequences, room.tokens


def memory_facts(
    spec: ModelSpec,
    layout: StateLayout,
    dtypes: Mapping[str, str],
    demand: Demand,
    source: Path,
    *,
    as_stored: bool,
    room: Room | None,
) -> dict[str, Any]:
    """Bytes of weights and, by kind, of the buffers a session holds when every sequence is full.

    ``as_stored``: whether weights are read as they are stored, or projections are widened.
    ``room``: what there is room for, where that is settled. The tensors of a step and the
    libraries come on top.
    """
    sequences, context = demand.sizes(spec, source, room)
    weights = resident_weight_bytes(spec, dtypes, as_stored=as_stored)
    state = _buffer_bytes(layout, sequences, context)
    if sum(state.values()) > _MOST_BYTES:
        raise InputError(
            f"{source}: the state of so many sequences of {context} tokens is larger than any "
            "memory; pass lower --sequences or --context"
        )
    return {
        "context": context,
        "sequences": sequences,
        "reserved": room is not None,
        "weights": weights,
        "widened": not as_stored,
        "state": state,
        "total": weights + sum(state.values()),
        # Of a GPU's memory nothing is known here.
        "available": None if room is not None else _available_bytes(),
    }


def _buffer_bytes(layout: StateLayout, sequences: int, context: int) -> dict[str, int]:
    """Bytes by kind of state: two buffers for all but caches that are updated in place."""
    found = {"kv": 0, "conv": 0, "recurrent": 0}
    for tensor in layout:
        size = tensor.itemsize
        for dim in tensor.concrete_shape(sequences, context):
            size *= dim
        once = tensor.kind == "kv" and tensor.update == "in_place"
        found[tensor.kind] += size if once else 2 * size
    return found


def _available_bytes() -> int | None:
    """Memory the machine could give to a new process, where it says so."""
    with suppress(OSError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        if found := re.search(r"^MemAvailable: +(\d+) kB$", text, re.MULTILINE):
            return int(found[1]) * 1024
    with suppress(AttributeError, ValueError, OSError):  # not on every system
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
