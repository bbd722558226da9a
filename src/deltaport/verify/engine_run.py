"""An engine's answers to one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ml_dtypes import bfloat16
from numpy.typing import NDArray

from deltaport.errors import EngineError
from deltaport.runtime import Engine, Session
from deltaport.verify.oracle import Array, continue_greedily

__all__ = ["CHUNKED", "CUTS", "WHOLE", "EngineRun", "in_float32", "run_engine"]

WHOLE, CHUNKED = "whole", "in chunks"
CUTS: dict[str, int | None] = {WHOLE: None, CHUNKED: 17}
"""How a prompt is cut into steps: as the runtime does by itself, which is not at all for a short
one, and into small odd chunks, so that what the engine carries between steps counts."""


@dataclass(frozen=True)
class EngineRun:
    """As :class:`deltaport.verify.oracle.Reference`, from an engine."""

    logits: Array
    state: dict[str, Array]
    greedy: list[int]
    greedy_logits: Array


def run_engine(
    engine: Engine, tokens: Sequence[int], *, chunk_size: int | None, new_tokens: int = 0
) -> EngineRun:
    """Read ``tokens`` in steps of ``chunk_size`` and continue greedily, end tokens or not."""
    session = engine.session(context=len(tokens) + new_tokens)
    (logits,) = session.prefill([list(tokens)], chunk_size=chunk_size, logits="all")
    if logits is None:
        raise EngineError(f"{engine.folder}: gave no logits for {len(tokens)} tokens")
    state = _state(session, len(tokens))

    def step(token: int) -> Array:
        (following,) = session.decode([token])
        assert following is not None, "a row that is given a token gets logits"
        return following

    greedy, greedy_logits = continue_greedily(logits[-1], step, new_tokens)
    return EngineRun(logits, state, greedy, greedy_logits)


def _state(session: Session, tokens: int) -> dict[str, Array]:
    """Copies of the state in float32, caches without the columns nobody has written."""
    found = {}
    for tensor in session.state.layout:
        array = session.state[tensor.input]
        written = array[:, :, :tokens] if tensor.kind == "kv" else array
        found[tensor.input] = in_float32(written, tensor.dtype)
    return found


def in_float32(array: NDArray[Any], dtype: str) -> Array:
    """A copy in float32 of what an engine holds in ``dtype``, as ``SessionState`` has it."""
    values: Array = (array.view(bfloat16) if dtype == "bfloat16" else array).astype(np.float32)
    return values
