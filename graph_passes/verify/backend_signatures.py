"""The dtypes that onnxruntime's own ops take together, as far as graphs of ours call them.

What their outputs look like is in ``lower.expand.value_types``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from deltaport.graph_passes.lower.expand.value_types import CONTRIB, TENSORRT

__all__ = ["SIGNATURES", "VARIABLES", "BackendSignature"]

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)

VARIABLES: Mapping[str, tuple[ir.DataType, ...]] = {
    "T": _FLOATS,
    "S": _FLOATS,
    "M": (ir.DataType.INT32,),
    "U": (ir.DataType.FLOAT,),
}
"""The dtypes each variable may stand for: one in all of a call."""


@dataclass(frozen=True)
class BackendSignature:
    """Type variables of the inputs and outputs, ``?`` after those that may be left out.

    ``attributes`` are those a call may have; a type in capitals is one that it must.
    """

    inputs: str
    outputs: str
    attributes: Mapping[str, str]


_CONTRIB: Mapping[str, BackendSignature] = {
    "CausalConvWithState": BackendSignature(
        "T T T? T?", "T T", {"activation": "string", "channels_last": "int"}
    ),
    "GatedRMSNorm": BackendSignature("T T T", "T", {"activation": "string", "epsilon": "float"}),
    "GroupQueryAttention": BackendSignature(
        "T T? T? S? S? M M",
        "T S? S?",
        {"num_heads": "INT", "kv_num_heads": "INT", "scale": "float"},
    ),
    "LinearAttention": BackendSignature(
        "T T T S? T? T?",
        "T S",
        {
            "q_num_heads": "INT",
            "kv_num_heads": "INT",
            "scale": "float",
            "update_rule": "string",
        },
    ),
    "MoE": BackendSignature(
        "T T T T? T",
        "T",
        {
            "k": "int",
            "activation_type": "string",
            "swiglu_fusion": "int",
            "activation_alpha": "float",
            "activation_beta": "float",
            "normalize_routing_weights": "int",
        },
    ),
    "SkipSimplifiedLayerNormalization": BackendSignature(
        "T T T", "T U? U? T?", {"epsilon": "float"}
    ),
}
_TENSORRT: Mapping[str, BackendSignature] = {
    "TRT_Attention": BackendSignature(
        "T T T T? M? M?", "T", {"causal_kind": "string", "TRT_decomposable": "int"}
    ),
    "TRT_KVCacheUpdate": BackendSignature("T T M", "T", {}),
}
SIGNATURES: Mapping[str, Mapping[str, BackendSignature]] = {
    CONTRIB: _CONTRIB,
    TENSORRT: _TENSORRT,
}
"""By domain, in its version 1, and op: the leading ports of each, and the attributes we give."""
