"""Facts about models, in words that several commands share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from deltaport.exporter.model_spec import ModelSpec, SparseMoeSpec
from deltaport.strict_json import one_line

from .formatting import plural

__all__ = [
    "describe_layers",
    "describe_left_out",
    "describe_mlp",
    "describe_ops",
    "describe_storage",
]

_LEFT_OUT = {
    "vision": "vision tower",
    "mtp": "multi-token prediction",
    "tied": "output head, as it repeats the embedding",
}


def describe_layers(spec: ModelSpec) -> str:
    """``40 layers: 30 linear attention, 10 full attention``."""
    linear, full = (len(spec.layers_of(k)) for k in ("linear_attention", "full_attention"))
    return f"{plural(spec.num_layers, 'layer')}: {linear} linear attention, {full} full attention"


def describe_mlp(spec: ModelSpec) -> str:
    """``dense, 12,288 wide`` or ``256 experts of 512, 8 a token, and a shared one of 512``."""
    if isinstance(spec.mlp, SparseMoeSpec):
        experts = plural(spec.mlp.num_experts, "expert")
        return (
            f"{experts} of {spec.mlp.expert_intermediate_size:,}, {spec.mlp.top_k} a token, and a "
            f"shared one of {spec.mlp.shared_intermediate_size:,}"
        )
    return f"dense, {spec.mlp.intermediate_size:,} wide"


def describe_left_out(counts: Mapping[str, int]) -> str:
    """What of a checkpoint is not in its engine: ``153 tensors (vision tower)``, or nothing."""
    parts = [
        f"{plural(count, 'tensor')} ({_LEFT_OUT.get(kind, kind)})"
        for kind, count in counts.items()
        if count
    ]
    return ", ".join(parts) or "nothing"


def describe_storage(engine: Mapping[str, Any]) -> str:
    """How the matrices of an engine are stored: ``bfloat16``, or ``int4 and bfloat16``."""
    quantized = engine["quantization"]
    dtype = one_line(engine["dtype"])
    return dtype if quantized is None else f"{one_line(quantized['recipe'])} and {dtype}"


def describe_ops(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Nodes by domain: ``("ONNX", "12 x MatMul, 9 x Cast")``."""
    domains: dict[str, list[str]] = {}
    for row in rows:
        domains.setdefault(row["domain"] or "ONNX", []).append(f"{row['nodes']} x {row['op']}")
    return [(domain, ", ".join(ops)) for domain, ops in domains.items()]
