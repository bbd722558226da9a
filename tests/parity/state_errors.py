"""How far an engine's state is from that of transformers."""

from __future__ import annotations

from collections import defaultdict

from deltaport.numerics import relative_error
from deltaport.runtime import Session
from tests.parity.oracle import Reference

__all__ = ["state_errors"]


def state_errors(session: Session, reference: Reference) -> dict[str, float]:
    """Largest error per kind of state, over all layers, after the prompt."""
    errors: dict[str, float] = defaultdict(float)
    for tensor in session.state.layout:
        ours, theirs = session.state[tensor.input], reference.state[tensor.input]
        if tensor.kind == "kv":
            ours = ours[:, :, : len(reference.prompt)]
        errors[tensor.kind] = max(errors[tensor.kind], relative_error(ours, theirs))
    return errors
