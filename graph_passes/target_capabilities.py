"""What each target can do, in one table. Passes ask for a capability, never for a target's name."""

from __future__ import annotations

from dataclasses import dataclass

from deltaport.errors import InputError

__all__ = ["TARGETS", "TargetCapabilities", "target_named"]


@dataclass(frozen=True)
class TargetCapabilities:
    """One row of the table.

    ``function_bodies``: ops of ours ship with their standard-ONNX bodies, so that a runtime
    without our kernels can run the graph.
    """

    name: str
    summary: str
    function_bodies: bool


TARGETS = {
    row.name: row
    for row in (
        TargetCapabilities(
            name="portable",
            summary="standard ONNX of opset 24, for onnxruntime 1.24 or newer; computes in fp32",
            function_bodies=True,
        ),
    )
}


def target_named(name: str) -> TargetCapabilities:
    """The row called ``name``; raises ``InputError`` naming those there are."""
    if name not in TARGETS:
        raise InputError(f"--target {name}: unknown target; choose one of {', '.join(TARGETS)}")
    return TARGETS[name]
