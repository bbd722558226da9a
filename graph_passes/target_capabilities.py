"""What each target can do, in one table. Passes ask for a capability, never for a target's name."""

from __future__ import annotations

from dataclasses import dataclass

from deltaport.errors import InputError

__all__ = [
    "TARGETS",
    "TargetCapabilities",
    "quantized_lowering",
    "reads_as_stored",
    "target_named",
]


@dataclass(frozen=True)
class TargetCapabilities:
    """One row of the table.

    ``ragged``: the rows of a step may have any number of tokens each. Elsewhere a step of more
    than one token runs a single sequence, without padding, and one of a token each runs no
    sequence that has none.
    ``kernels``: our ops are run by our kernels, never by their bodies.
    ``lowering``: the passes that turn the fused graph into what the target runs, as text.
    ``quantized``: the same for weights of 4 and 8 bits; None where the target runs none.
    ``dequantizes``: these are multiplied in floating point, with activations as they are. Formats
    have no offsets, but of experts where there are ``kernels`` for them, and an embedding is
    quantized for a head tied to it alone. They may be fp8, but of such experts.
    ``widens``: projections are widened to float32 when an engine is loaded.
    ``plan``: TensorRT compiles the graph, for one GPU and steps up to a size, before it runs. With
    ``kernels`` as well, our plugins for it must be there.
    """

    name: str
    summary: str
    ragged: bool
    lowering: str
    quantized: str | None = None
    dequantizes: bool = False
    kernels: bool = False
    widens: bool = False
    plan: bool = False


TARGETS = {
    row.name: row
    for row in (
        TargetCapabilities(
            name="portable",
            summary="standard ONNX of opset 24, for onnxruntime 1.24 or newer; computes in fp32",
            ragged=True,
            lowering="attach-function-bodies",
            quantized="lower-to-linear,quantize-weights,attach-function-bodies",
            widens=True,
        ),
        TargetCapabilities(
            name="ort-cpu",
            summary="deltaport's own kernels in onnxruntime 1.24 or newer, on CPUs; computes "
            "in fp32",
            ragged=True,
            lowering="lower-to-linear,attach-function-bodies,update-state-in-place",
            quantized="lower-to-linear,quantize-weights,attach-function-bodies,"
            "update-state-in-place",
            kernels=True,
        ),
        TargetCapabilities(
            name="ort-cuda",
            summary="onnxruntime's own fused ops, for onnxruntime-gpu 1.31 or newer; computes in "
            "the dtype matrices are stored in",
            ragged=False,
            lowering="lower-to-contrib,eliminate-common-subexpressions,lower-precision,"
            "eliminate-dead-code",
        ),
        TargetCapabilities(
            name="tensorrt",
            summary="TensorRT 11 or TensorRT-RTX 1.7, with our plugins; computes in the "
            "dtype matrices are stored in",
            ragged=False,
            lowering="lower-precision{own-ops=true},lower-to-tensorrt{plugins=true},"
            "eliminate-common-subexpressions,eliminate-dead-code",
            quantized="lower-to-linear,quantize-to-qdq{plugins=true},lower-precision{own-ops=true},"
            "lower-to-tensorrt{plugins=true},eliminate-common-subexpressions,eliminate-dead-code",
            dequantizes=True,
            kernels=True,
            plan=True,
        ),
        TargetCapabilities(
            name="tensorrt-plain",
            summary="the same without plugins",
            ragged=False,
            lowering="lower-precision{own-ops=true},lower-to-tensorrt,"
            "eliminate-common-subexpressions,eliminate-dead-code",
            quantized="lower-to-linear,quantize-to-qdq,lower-precision{own-ops=true},"
            "lower-to-tensorrt,eliminate-common-subexpressions,eliminate-dead-code",
            dequantizes=True,
            plan=True,
        ),
    )
}


def target_named(name: str) -> TargetCapabilities:
    """The row called ``name``; raises ``InputError`` naming those there are."""
    if name not in TARGETS:
        raise InputError(f"--target {name}: unknown target; choose one of {', '.join(TARGETS)}")
    return TARGETS[name]


def quantized_lowering(target: TargetCapabilities) -> str:
    """The lowering passes for weights of 4 and 8 bits; raises ``InputError`` if it runs none."""
    if target.quantized is None:
        able = ", ".join(row.name for row in TARGETS.values() if row.quantized is not None)
        raise InputError(
            f"--quantize: target {target.name} runs no quantized weights; choose one of {able}"
        )
    return target.quantized


def reads_as_stored(target: str) -> bool:
    """Whether engines of this target, which a newer deltaport may have made, widen no weights."""
    return target in TARGETS and not TARGETS[target].widens
